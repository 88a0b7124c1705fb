//! `GET /playground`: a page to chat on and to watch the server with. Its files are in the binary
//! and refer to nothing elsewhere.

use axum::extract::Path;
use axum::response::IntoResponse;
use http::{HeaderName, HeaderValue, header};

use crate::error::ApiError;

/// What the page may do: run its own files and talk to its own server. Text that a model wrote
/// stays text whatever happens, as no script can make markup of it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// On every file of the page. A new server shows its own page at once.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../playground/", $name)))
    };
}

const PAGE: (&str, &str) = file!("index.html");

/// What the page consists of.
const FILES: [(&str, &str); 13] = [
    file!("icon.svg"),
    file!("theme.css"),
    file!("layout.css"),
    file!("chat.css"),
    file!("panel.css"),
    file!("main.js"),
    file!("api.js"),
    file!("chart.js"),
    file!("dom.js"),
    file!("markdown.js"),
    file!("server.js"),
    file!("turn.js"),
    // Last, so that a name that is none is looked for among the files alone.
    PAGE,
];

/// The page.
pub async fn playground() -> impl IntoResponse {
    respond(PAGE)
}

/// A file that the page refers to.
///
/// # Errors
/// 404 when there is no such file.
pub async fn playground_file(Path(name): Path<String>) -> Result<impl IntoResponse, ApiError> {
    let file = FILES.iter().find(|(file, _)| *file == name);
    file.copied().map(respond).ok_or(ApiError::NotFound)
}

fn respond((name, text): (&'static str, &'static str)) -> impl IntoResponse {
    let kind = match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    };
    (HEADERS, [(header::CONTENT_TYPE, kind)], text)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::{Request, Response, StatusCode};
    use tower::ServiceExt;

    use super::*;

    async fn get_path(path: &str) -> Response<Body> {
        let app: Router = Router::new()
            .route("/playground", get(playground))
            .route("/playground/{file}", get(playground_file));
        let request = Request::get(path).body(Body::empty()).expect("a request");
        app.oneshot(request).await.expect("infallible")
    }

    /// What a file refers to within the page.
    fn references(text: &str) -> Vec<String> {
        let marks = [
            ("href=\"playground/", '"'),
            ("src=\"playground/", '"'),
            ("from \"./", '"'),
        ];
        let find = |(mark, end): (&str, char)| -> Vec<String> {
            let parts = text.split(mark).skip(1);
            parts
                .filter_map(|part| part.split(end).next())
                .map(str::to_owned)
                .collect()
        };
        marks.into_iter().flat_map(find).collect()
    }

    #[tokio::test]
    async fn all_that_the_page_refers_to_is_there() {
        let mut unseen: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        unseen.retain(|name| *name != PAGE.0);
        for (_, text) in FILES {
            for name in references(text) {
                let response = get_path(&format!("/playground/{name}")).await;
                assert_eq!(response.status(), StatusCode::OK, "{name}");
                unseen.retain(|file| **file != name);
            }
        }
        assert_eq!(unseen, Vec::<&str>::new(), "files that nothing refers to");
    }

    #[tokio::test]
    async fn every_file_comes_with_the_policy_and_its_type() {
        for (path, kind) in [
            ("/playground", "text/html; charset=utf-8"),
            ("/playground/main.js", "text/javascript; charset=utf-8"),
            ("/playground/theme.css", "text/css; charset=utf-8"),
            ("/playground/icon.svg", "image/svg+xml"),
        ] {
            let response = get_path(path).await;
            let header = |name| response.headers().get(name).expect("a header");
            assert_eq!(header(header::CONTENT_TYPE), kind);
            assert_eq!(header(header::CONTENT_SECURITY_POLICY), POLICY);
        }
    }

    #[tokio::test]
    async fn other_names_are_not_found() {
        for path in ["/playground/none.js", "/playground/..%2Fplayground.rs"] {
            assert_eq!(get_path(path).await.status(), StatusCode::NOT_FOUND);
        }
    }

    #[test]
    fn no_file_names_another_server_or_holds_inline_code() {
        for (name, text) in FILES {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for banned in [
                "http:",
                "https:",
                "innerHTML",
                " style=\"",
                " onclick=\"",
                "<script>",
            ] {
                assert!(!text.contains(banned), "{name} holds {banned}");
            }
        }
    }
}
