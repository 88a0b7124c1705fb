//! A served model as one value, and the state that all handlers share.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use tokio::sync::watch;

use crate::api::template::ChatTemplate;
use crate::api::tokenizer::Tokenizer;
use crate::api::validate::Room;
use crate::config::{Limits, ServeConfig};
use crate::dispatch::Dispatcher;
use crate::error::ApiError;
use crate::generation::Generation;
use crate::grammar::Grammars;
use crate::keys::{Keys, KeysError};
use crate::metrics;
use crate::outage::Outage;
use crate::pb::EngineInfo;
use crate::request::{ValidRequest, Watermark};
use crate::response_store::ResponseStore;
use crate::serve::Readiness;

/// Names that mean the served model, whatever it is.
const ANY_MODEL: [&str; 3] = ["", "tgi", "dummy"];

/// Everything about one model.
#[derive(Debug)]
pub struct Model {
    /// What the shard told about it.
    pub info: EngineInfo,
    /// Text to tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// Messages to text; `None` when the model has none.
    pub template: Option<ChatTemplate>,
    /// Checks what answers must follow.
    pub grammars: Grammars,
    /// What is asked for with `watermark`.
    pub watermark: Watermark,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    pub(crate) dispatcher: Dispatcher,
}

impl Model {
    /// What a request may ask for.
    #[must_use]
    pub fn room(&self) -> Room<'_> {
        Room {
            max_input_tokens: self.info.max_input_tokens,
            max_total_tokens: self.info.max_total_tokens,
            watermark: self.watermark,
            eos_token_ids: &self.info.eos_token_ids,
        }
    }

    /// Hands a request to the queue; returns at once.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] when a bound on work is reached, [`ApiError::Unavailable`] when no
    /// shard is connected.
    pub fn submit(&self, request: ValidRequest) -> Result<Generation, ApiError> {
        self.dispatcher.submit(request)
    }

    /// Requests of this model that the server holds.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.dispatcher.requests()
    }

    /// Whether a shard that serves it is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.dispatcher.is_connected()
    }

    fn is_named(&self, name: &str) -> bool {
        let id = self.info.model_id.as_str();
        ANY_MODEL.contains(&name) || name == id || id.rsplit('/').next() == Some(name)
    }
}

/// What handlers share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: ServeConfig,
    /// Loaded models by id.
    models: RwLock<BTreeMap<String, Arc<Model>>>,
    keys: Arc<Keys>,
    outage: Arc<Outage>,
    readiness: watch::Sender<Readiness>,
    responses: ResponseStore,
}

impl AppState {
    pub(crate) fn new(config: ServeConfig) -> Result<Self, KeysError> {
        let shared = Shared {
            keys: Arc::new(Keys::load(&config.router)?),
            responses: ResponseStore::new(&config.router.limits),
            config,
            models: RwLock::default(),
            outage: Arc::new(Outage::new()),
            readiness: watch::Sender::new(Readiness::Loading),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Who may use the server.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.0.keys
    }

    pub(crate) fn outage(&self) -> Arc<Outage> {
        Arc::clone(&self.0.outage)
    }

    /// The operator's decisions.
    #[must_use]
    pub fn config(&self) -> &ServeConfig {
        &self.0.config
    }

    /// The bounds on requests.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.config().router.limits
    }

    /// The responses that later requests may fetch or continue.
    #[must_use]
    pub fn responses(&self) -> &ResponseStore {
        &self.0.responses
    }

    /// The served model.
    ///
    /// # Errors
    /// [`ApiError::Unavailable`] while it is loading.
    pub fn model(&self) -> Result<Arc<Model>, ApiError> {
        let models = self
            .0
            .models
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let model = models.values().next().cloned();
        model.ok_or_else(|| self.0.outage.refusal("the model is loading"))
    }

    /// The model that a request names; no name means the served one.
    ///
    /// # Errors
    /// [`ApiError::ModelNotFound`] when it is not served, [`ApiError::Unavailable`] while the
    /// model is loading.
    pub fn model_named(&self, name: Option<&str>) -> Result<Arc<Model>, ApiError> {
        let model = self.model()?;
        let name = name.unwrap_or_default();
        if model.is_named(name) || name == self.config().model.model_id {
            return Ok(model);
        }
        Err(ApiError::ModelNotFound(name.to_owned()))
    }

    /// Whether a request sent now would be answered.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.readiness.borrow() == Readiness::Ready
    }

    /// Whether the server's own tasks work; it need not be ready.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.model()
            .map_or(true, |model| model.dispatcher.is_alive())
    }

    /// All metrics as Prometheus text.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        metrics::render()
    }

    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.0.readiness.subscribe()
    }

    /// Notes the server's state, in its log too: the health routes say no reason. A draining server
    /// stays that.
    pub(crate) fn set_readiness(&self, next: Readiness) {
        if let Readiness::Unavailable { reason } = &next {
            tracing::debug!("not ready: {reason}");
        }
        self.0.readiness.send_if_modified(|now| {
            let changes = *now != Readiness::Draining && *now != next;
            if changes {
                *now = next;
            }
            changes
        });
    }

    /// Serves a model in the place of those before it.
    pub(crate) fn publish(&self, model: Arc<Model>) {
        let mut models = self
            .0
            .models
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        models.clear();
        models.insert(model.info.model_id.clone(), model);
    }
}
