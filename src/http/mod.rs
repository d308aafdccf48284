//! What a daemon answers over HTTP: numbers, health, and the status. Nothing here changes anything.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | the numbers, as Prometheus reads them |
//! | `/healthz` | 200 while the process works |
//! | `/readyz` | 200 when it has started and holds its leases; 503 until then. A source that is away, or a parked table, is no reason |
//! | `/api/status` | what `binlake status --json` prints |
//!
//! The room knows only that somebody has the answers: [`Answers`]. Each request is answered within [`ANSWER_LIMIT`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long one answer may take to be made.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Who has the answers.
#[async_trait]
pub trait Answers: Send + Sync {
    /// The numbers, in Prometheus's text format.
    async fn metrics(&self) -> Result<String, String>;
    /// Why the daemon is not ready; None when it is.
    fn waits_for(&self) -> Option<String>;
    /// The status as JSON.
    async fn status(&self) -> Result<String, String>;
}

type Shared = State<Arc<dyn Answers>>;

/// Listens.
///
/// # Errors
/// When the address is taken, or not one of this machine.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until cancelled.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, answers: Arc<dyn Answers>, cancel: CancellationToken) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "the process works\n" }))
        .route("/readyz", get(ready))
        .route("/api/status", get(status))
        .fallback(unknown)
        .method_not_allowed_fallback(only_get)
        .with_state(answers);
    axum::serve(listener, routes).with_graceful_shutdown(async move { cancel.cancelled().await }).await
}

async fn metrics(State(answers): Shared) -> Response {
    made(answers.metrics(), "text/plain; version=0.0.4; charset=utf-8").await
}

async fn status(State(answers): Shared) -> Response {
    made(answers.status(), "application/json").await
}

async fn ready(State(answers): Shared) -> Response {
    match answers.waits_for() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn unknown(uri: Uri) -> Response {
    let text = format!("there is no {}; there are /metrics, /healthz, /readyz and /api/status\n", uri.path());
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn only_get() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")], "everything here is read with GET\n").into_response()
}

async fn made(answer: impl Future<Output = Result<String, String>>, kind: &'static str) -> Response {
    match tokio::time::timeout(ANSWER_LIMIT, answer).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Ok(Err(reason)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "it took too long to find out\n").into_response(),
    }
}
