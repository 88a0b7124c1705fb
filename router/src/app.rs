//! All routes on one screen.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use http::{HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use crate::api::auth::require_key;
use crate::api::openapi::ApiDoc;
use crate::api::routes::chat::chat_completions;
use crate::api::routes::chat_tokenize::chat_tokenize;
use crate::api::routes::compat::compat;
use crate::api::routes::completions::completions;
use crate::api::routes::generate::generate;
use crate::api::routes::generate_stream::generate_stream;
use crate::api::routes::health::health;
use crate::api::routes::info::info;
use crate::api::routes::metrics::metrics;
use crate::api::routes::models::models;
use crate::api::routes::playground::{playground, playground_file};
use crate::api::routes::tokenize::tokenize;
use crate::error::{ApiError, shape_errors};
pub use crate::model::AppState;
use crate::serve::body::{Bodies, receive_body};

/// The whole HTTP surface: routes, and around them, from the inside, the bounds on bodies, the headers
/// for browsers and for tracing, the form of errors.
pub fn app(state: AppState) -> Router {
    let locked = Router::new()
        .route("/", post(compat))
        .route("/generate", post(generate))
        .route("/generate_stream", post(generate_stream))
        .route("/tokenize", post(tokenize))
        .route("/chat_tokenize", post(chat_tokenize))
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/completions", post(completions))
        .route_layer(from_fn_with_state(state.clone(), require_key));
    let open = Router::new()
        .route("/", get(health))
        .route("/health", get(health))
        .route("/ping", get(health))
        .route("/info", get(info))
        .route("/v1/models", get(models))
        .route("/metrics", get(metrics))
        .route("/playground", get(playground))
        .route("/playground/{file}", get(playground_file));
    let docs = SwaggerUi::new("/docs").url("/openapi.json", ApiDoc::openapi());
    let config = &state.config().router;
    let (bodies, cors) = (Bodies::new(&config.http), cors(&config.cors_allow_origin));
    locked
        .merge(open)
        .merge(docs)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .fallback(async || ApiError::NotFound)
        // `receive_body` keeps the limit, with an error that names it.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(bodies, receive_body))
        .layer(cors)
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(from_fn(shape_errors))
        .with_state(state)
}

/// Browsers of any origin, or of those listed, may call with JSON and a key.
fn cors(origins: &[String]) -> CorsLayer {
    let allowed = match origins {
        [] => AllowOrigin::from(Any),
        listed => AllowOrigin::list(
            listed
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok()),
        ),
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::OPTIONS])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
}
