//! The description of the surface, served at `/openapi.json` and browsable at `/docs`.

use utoipa::OpenApi;

use crate::api::routes;

/// Collected from the handlers.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Text generation server",
        description = "Text generation for long prompts"
    ),
    paths(
        routes::generate::generate,
        routes::generate_stream::generate_stream,
        routes::compat::compat,
        routes::invocations::invocations,
        routes::vertex::vertex,
        routes::tokenize::tokenize,
        routes::chat_tokenize::chat_tokenize,
        routes::chat::chat_completions,
        routes::completions::completions,
        routes::embeddings::embeddings,
        routes::responses::create,
        routes::responses::fetch,
        routes::responses::delete,
        routes::messages::messages,
        routes::messages::count_tokens,
        routes::models::models,
        routes::models::model,
        routes::info::info,
        routes::health::ready,
        routes::health::live,
        routes::health::startup,
        routes::metrics::metrics,
    )
)]
pub struct ApiDoc;
