//! How the API says no.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::types::Refusal;

/// A refusal with its status: 422 for a request that can never be granted as it is (the command then
/// exits with 2), 409 for one that does not fit the present state, 5xx when the node itself failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    status: StatusCode,
    refusal: Refusal,
}

impl Refuse {
    /// It cannot be done now, or by this node.
    pub fn conflict(error: impl std::fmt::Display) -> Refuse {
        Refuse::of(StatusCode::CONFLICT, error)
    }

    /// The request itself is wrong.
    pub fn wrong(error: impl std::fmt::Display) -> Refuse {
        Refuse::of(StatusCode::UNPROCESSABLE_ENTITY, error)
    }

    /// No such thing.
    pub fn unknown(error: impl std::fmt::Display) -> Refuse {
        Refuse::of(StatusCode::NOT_FOUND, error)
    }

    /// The node failed at it.
    pub fn failed(error: impl std::fmt::Display) -> Refuse {
        Refuse::of(StatusCode::INTERNAL_SERVER_ERROR, error)
    }

    /// The caller may not ask.
    pub fn forbidden(error: impl std::fmt::Display) -> Refuse {
        Refuse::of(StatusCode::FORBIDDEN, error)
    }

    /// The node is on its way out.
    pub fn stopping() -> Refuse {
        Refuse::of(StatusCode::SERVICE_UNAVAILABLE, "the node is stopping")
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl std::fmt::Display) -> Refuse {
        self.refusal.fix = Some(fix.to_string());
        self
    }

    fn of(status: StatusCode, error: impl std::fmt::Display) -> Refuse {
        Refuse {
            status,
            refusal: Refusal {
                error: error.to_string(),
                fix: None,
            },
        }
    }
}

impl std::fmt::Display for Refuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.refusal.error)
    }
}

impl IntoResponse for Refuse {
    fn into_response(self) -> Response {
        (self.status, Json(self.refusal)).into_response()
    }
}
