//! Routes as logs and metrics name them: few, whatever requests say.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use http::Method;

use crate::api::auth::Access;
use crate::app::Endpoint;

/// What requests are called that meet no route.
const NO_ROUTE: &str = "none";
/// What the documentation's files are called together.
const DOCS: &str = "/docs";

/// A request's method and route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// The route's template, such as `/v1/models/{id}`.
    pub(super) template: &'static str,
    /// Whether it is a probe or a look at the metrics, which come every few seconds.
    pub(super) is_routine: bool,
}

/// The routes there are.
#[derive(Debug, Clone)]
pub(crate) struct Routes(Arc<[(&'static str, Access)]>);

impl Routes {
    pub(crate) fn new(endpoints: &[Endpoint]) -> Self {
        let routes = endpoints
            .iter()
            .map(|endpoint| (endpoint.path, endpoint.access));
        Self(routes.collect())
    }

    /// The route that a request met.
    pub(super) fn of(&self, request: &Request) -> Route {
        let matched = request.extensions().get::<MatchedPath>();
        let template = matched.map_or(NO_ROUTE, |path| self.template(path.as_str()));
        let routine = |(path, access): &(&'static str, Access)| {
            *path == template && matches!(access, Access::Open | Access::Metrics)
        };
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        Route {
            method: method(request.method()),
            template,
            is_routine: reads && self.0.iter().any(routine),
        }
    }

    /// The template with this text, which lives for ever.
    fn template(&self, text: &str) -> &'static str {
        let mut templates = self.0.iter().map(|(template, _)| *template);
        templates.find(|template| *template == text).unwrap_or(DOCS)
    }
}

/// Methods beyond the usual ones share a name: clients may make up any.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::endpoints;

    #[test]
    fn whatever_requests_say_names_are_few() {
        let routes = Routes::new(&endpoints());
        assert_eq!(routes.template("/v1/models/{id}"), "/v1/models/{id}");
        assert_eq!(routes.template("/docs/{*rest}"), DOCS);
        let brew = Method::from_bytes(b"BREW").expect("a method");
        assert_eq!((method(&Method::POST), method(&brew)), ("POST", "other"));
    }

    #[test]
    fn a_request_past_all_routes_has_none() {
        let request = Request::new(axum::body::Body::empty());
        let route = Routes::new(&endpoints()).of(&request);
        assert_eq!((route.template, route.is_routine), (NO_ROUTE, false));
    }
}
