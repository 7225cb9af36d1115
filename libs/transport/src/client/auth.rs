//! The token in each call of a user.

use std::fmt;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::token::UserToken;

/// Adds `authorization: Bearer …` to every call. Put it only on channels of a pinned CA.
#[derive(Clone)]
pub struct AuthInterceptor {
    header: Option<MetadataValue<Ascii>>,
}

impl fmt::Debug for AuthInterceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthInterceptor").field("token", &self.header.is_some()).finish()
    }
}

impl AuthInterceptor {
    /// Calls carry `token`.
    pub fn new(token: &UserToken) -> Self {
        let mut header: MetadataValue<Ascii> = format!("Bearer {}", token.expose())
            .parse()
            .expect("a token is made of letters, digits and underscores");
        // Keeps the value out of logs and of the header compression's table.
        header.set_sensitive(true);
        Self { header: Some(header) }
    }

    /// Calls carry nothing, so that one client type serves agents and those not logged in.
    pub fn none() -> Self {
        Self { header: None }
    }
}

impl Interceptor for AuthInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.header {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}
