//! The description of the surface, served at `/openapi.json` and browsable at `/docs`.

use http::StatusCode;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::{self, ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::api::routes;
use crate::api::types::error::{AnthropicError, NativeError, OpenAiError};
use crate::error::Form;

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
    ),
    components(schemas(NativeError, OpenAiError, AnthropicError)),
    modifiers(&HealthNames, &Errors)
)]
pub struct ApiDoc;

/// The routes that answer as `/health` does.
const HEALTH_NAMES: [(&str, &str); 3] =
    [("/", "root"), ("/ping", "ping"), ("/health/ready", "ready")];

/// Describes the other names of `/health`.
struct HealthNames;

impl Modify for HealthNames {
    fn modify(&self, api: &mut openapi::OpenApi) {
        let health = api.paths.get_path_operation("/health", HttpMethod::Get);
        let Some(health) = health.cloned() else {
            return;
        };
        for (path, id) in HEALTH_NAMES {
            let mut health = health.clone();
            health.operation_id = Some(id.to_owned());
            let methods = vec![HttpMethod::Get];
            api.paths.add_path_operation(path, methods, health);
        }
    }
}

/// What may go wrong with any request, in the statuses of native routes.
const OF_ALL: [(StatusCode, &str); 3] = [
    (StatusCode::UNAUTHORIZED, "The key is absent or wrong"),
    (StatusCode::INTERNAL_SERVER_ERROR, "A fault of the server"),
    (StatusCode::SERVICE_UNAVAILABLE, "No shard can take it now"),
];

/// What else may go wrong with a request that names something.
const OF_NAMES: [(StatusCode, &str); 1] = [(StatusCode::NOT_FOUND, "What it names is not here")];

/// What else may go wrong with a request that has a body.
const OF_BODIES: [(StatusCode, &str); 8] = [
    (StatusCode::BAD_REQUEST, "The body is no JSON"),
    (StatusCode::UNPROCESSABLE_ENTITY, "A rule is broken"),
    (StatusCode::REQUEST_TIMEOUT, "The client was too slow"),
    (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
    (
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body is not declared as JSON",
    ),
    (StatusCode::FAILED_DEPENDENCY, "The shard failed it"),
    (StatusCode::TOO_MANY_REQUESTS, "A bound on work is reached"),
    (StatusCode::GATEWAY_TIMEOUT, "It took longer than it may"),
];

/// Describes the errors of every route in the form of its family. Health routes answer without a
/// body, and say so themselves.
struct Errors;

impl Modify for Errors {
    fn modify(&self, api: &mut openapi::OpenApi) {
        for (path, item) in &mut api.paths.paths {
            let form = Form::of(path);
            let PathItem {
                get, post, delete, ..
            } = item;
            let is_health =
                |operation: &&mut Operation| operation.responses.responses.contains_key("503");
            for operation in [get, delete]
                .into_iter()
                .flatten()
                .filter(|one| !is_health(one))
            {
                describe(operation, form, &OF_ALL);
                if path.contains('{') {
                    describe(operation, form, &OF_NAMES);
                }
            }
            if let Some(operation) = post {
                describe(operation, form, &OF_ALL);
                describe(operation, form, &OF_NAMES);
                describe(operation, form, &OF_BODIES);
            }
        }
    }
}

/// Adds errors. Of those that the family has one status for, the first one's words stay.
fn describe(operation: &mut Operation, form: Form, errors: &[(StatusCode, &str)]) {
    let body = match form {
        Form::Native => NativeError::name(),
        Form::OpenAi => OpenAiError::name(),
        Form::Anthropic => AnthropicError::name(),
    };
    for (status, description) in errors {
        let status = form.translate(*status).as_str().to_owned();
        let schema = Ref::from_schema_name(body.clone());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new()
            .description(*description)
            .content("application/json", content);
        let responses = &mut operation.responses.responses;
        responses.entry(status).or_insert_with(|| response.into());
    }
}
