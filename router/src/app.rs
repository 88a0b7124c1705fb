//! All routes on one screen, and what is around them.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post};
use http::Method;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use crate::api::auth::{Access, check_key};
use crate::api::browsers::cors;
use crate::api::openapi::ApiDoc;
use crate::api::routes::chat::chat_completions;
use crate::api::routes::chat_tokenize::chat_tokenize;
use crate::api::routes::compat::compat;
use crate::api::routes::completions::completions;
use crate::api::routes::embeddings::embeddings;
use crate::api::routes::generate::generate;
use crate::api::routes::generate_stream::generate_stream;
use crate::api::routes::health::{live, ready, startup};
use crate::api::routes::info::info;
use crate::api::routes::invocations::invocations;
use crate::api::routes::messages::{count_tokens, messages};
use crate::api::routes::metrics::metrics;
use crate::api::routes::models::{model, models};
use crate::api::routes::playground::{playground, playground_file};
use crate::api::routes::responses;
use crate::api::routes::tokenize::tokenize;
use crate::api::routes::vertex::vertex;
use crate::error::{ApiError, shape_errors};
use crate::exchange::{Routes, observe};
pub use crate::model::AppState;
use crate::serve::body::{Bodies, receive_body};
use crate::trace::Traces;

/// A route: what it answers, and who may use it.
pub struct Endpoint {
    /// Method that it takes.
    pub method: Method,
    /// Its path; `{name}` stands for any part, `{*name}` for any rest.
    pub path: &'static str,
    /// Who may use it, once a key is set.
    pub access: Access,
    handler: MethodRouter<AppState>,
}

/// Every route of the surface, the files of `/docs` apart.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    use Access::{Key, Metrics, Open, Page};
    vec![
        on_post("/", Key, post(compat)),
        on_post("/generate", Key, post(generate)),
        on_post("/generate_stream", Key, post(generate_stream)),
        on_post("/invocations", Key, post(invocations)),
        on_post("/vertex", Key, post(vertex)),
        on_post("/tokenize", Key, post(tokenize)),
        on_post("/chat_tokenize", Key, post(chat_tokenize)),
        on_post("/v1/chat/completions", Key, post(chat_completions)),
        on_post("/v1/completions", Key, post(completions)),
        on_post("/v1/embeddings", Key, post(embeddings)),
        on_get("/v1/models", Key, get(models)),
        on_get("/v1/models/{id}", Key, get(model)),
        on_post("/v1/responses", Key, post(responses::create)),
        on_get("/v1/responses/{id}", Key, get(responses::fetch)),
        Endpoint {
            method: Method::DELETE,
            path: "/v1/responses/{id}",
            access: Key,
            handler: delete(responses::delete),
        },
        on_post("/v1/messages", Key, post(messages)),
        on_post("/v1/messages/count_tokens", Key, post(count_tokens)),
        on_get("/info", Key, get(info)),
        on_get("/", Open, get(ready)),
        on_get("/health", Open, get(ready)),
        on_get("/health/live", Open, get(live)),
        on_get("/health/ready", Open, get(ready)),
        on_get("/health/startup", Open, get(startup)),
        on_get("/ping", Open, get(ready)),
        on_get("/metrics", Metrics, get(metrics)),
        on_get("/playground", Page, get(playground)),
        on_get("/playground/{file}", Page, get(playground_file)),
    ]
}

fn on_get(path: &'static str, access: Access, handler: MethodRouter<AppState>) -> Endpoint {
    Endpoint {
        method: Method::GET,
        path,
        access,
        handler,
    }
}

fn on_post(path: &'static str, access: Access, handler: MethodRouter<AppState>) -> Endpoint {
    Endpoint {
        method: Method::POST,
        path,
        access,
        handler,
    }
}

/// The whole HTTP surface: routes, and around them, from the inside, keys, the bounds on bodies, the
/// headers for browsers, the form of errors, the id and the report of each request.
pub(crate) fn app(state: AppState, traces: Option<Traces>) -> Router {
    let needs = |access| from_fn_with_state((state.clone(), access), check_key);
    let endpoints = endpoints();
    let known = Routes::new(&endpoints);
    let routes = endpoints
        .into_iter()
        .fold(Router::new(), |routes, endpoint| {
            let handler = endpoint.handler.route_layer(needs(endpoint.access));
            routes.route(endpoint.path, handler)
        });
    let docs = Router::from(SwaggerUi::new("/docs").url("/openapi.json", ApiDoc::openapi()));
    let bodies = Bodies::new(&state.config().router.http);
    let cors = cors(&state.config().router.cors_allow_origin);
    routes
        .merge(docs.route_layer(needs(Access::Page)))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .fallback(async || ApiError::NotFound)
        // `receive_body` keeps the limit, with an error that names it.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(bodies, receive_body))
        .layer(cors)
        .layer(from_fn(shape_errors))
        .layer(from_fn_with_state((known, traces), observe))
        .with_state(state)
}
