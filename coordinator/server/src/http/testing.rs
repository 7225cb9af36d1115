//! A coordinator without a listener: real consensus, a real store, and the routes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use runyard_blobs::LocalStore;
use runyard_consensus::{Config, Founding, GroupId, OsDisk, PeerId};
use runyard_proto::v1;
use runyard_proto::v1::runs_server::Runs;
use runyard_state::entity::TokenKind;
use runyard_state::{Command, CreateToken, RevokeToken};
use runyard_transport::ca::Ca;
use runyard_transport::token::UserToken;
use tower::ServiceExt;

use crate::core::{Core, Group};
use crate::live::Live;
use crate::logs::Tails;
use crate::readmodel::ReadModel;
use crate::services::RunsService;
use crate::truth::{Machine, Published, Truth};

/// The address by which the tests' group goes.
pub(super) const HOST: &str = "gpu.example:7443";

pub(super) const PIPELINE: &str =
    "version: 1\nname: digits\nstages:\n  train:\n    run: echo train\n";

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) core: Core,
    pub(super) token: String,
    token_id: String,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let raft: PathBuf = dir.path().join("raft");
        let (group, peer) = (GroupId(7), PeerId(1));
        let founding =
            Founding { group, peer, generation: 1, voters: vec![peer], segment_bytes: 1 << 20 };
        runyard_consensus::init(&raft, &OsDisk, &founding).expect("a group");
        let published = Published::new();
        let machine = Machine::new(Arc::clone(&published));
        let handle = tokio::task::spawn_blocking(move || {
            let handle =
                runyard_consensus::start(Config::new(raft, group, peer), Arc::new(OsDisk), machine)
                    .expect("it starts");
            assert!(handle.wait_ready(Duration::from_secs(30)), "it is ready");
            handle
        });
        let truth = Truth::new(handle.await.expect("no panic"), published);
        let core = Core {
            truth,
            live: Arc::new(Live::new()),
            store: Arc::new(LocalStore::open(dir.path().join("blobs")).expect("a store")),
            tails: Arc::new(Tails::default()),
            read_model: Arc::new(ReadModel::open(&dir.path().join("read-model"))),
            group: Arc::new(Group {
                ca: Ca::create("test", SystemTime::now()).expect("a CA"),
                id: "test".to_owned(),
                peer: 1,
                generation: 1,
                addresses: vec![HOST.to_owned()],
                page: format!("https://{HOST}/"),
                program: PathBuf::from("/bin/false"),
                started_ms: 1,
            }),
        };
        let token = UserToken::generate();
        let stage =
            Self { core, token: token.expose(), token_id: token.id.as_str().to_owned(), _dir: dir };
        stage
            .propose(Command::CreateToken(CreateToken {
                id: stage.token_id.clone(),
                kind: TokenKind::User,
                name: "ada".to_owned(),
                hash: token.hash(),
                ttl: None,
                principal: "test".to_owned(),
            }))
            .await;
        stage
    }

    /// Proposes as soon as there is a leader.
    pub(super) async fn propose(&self, command: Command) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            match self.core.truth.propose(command.clone()).await {
                Ok(_) => return,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn revoke(&self) {
        let command = RevokeToken { id: self.token_id.clone(), principal: "test".to_owned() };
        self.propose(Command::RevokeToken(command)).await;
    }

    /// Submits a run whose commit has this subject.
    pub(super) async fn submit(&self, subject: &str) -> String {
        let request = v1::SubmitRequest {
            idempotency_key: ulid::Ulid::generate().to_string(),
            pipeline: PIPELINE.to_owned(),
            git: Some(v1::Git { subject: subject.to_owned(), ..v1::Git::default() }),
            ..v1::SubmitRequest::default()
        };
        let mut request = tonic::Request::new(request);
        let value = format!("Bearer {}", self.token).parse().expect("a value");
        request.metadata_mut().insert("authorization", value);
        RunsService::new(self.core.clone())
            .submit(request)
            .await
            .expect("it is accepted")
            .into_inner()
            .run
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Response<Body> {
        super::router(self.core.clone()).oneshot(request).await.expect("it answers")
    }

    /// Asks with the token, as `curl` would.
    pub(super) async fn get(&self, path: &str) -> Answered {
        let request = Request::get(path)
            .header("host", HOST)
            .header("authorization", format!("Bearer {}", self.token));
        Answered::of(self.send(request.body(Body::empty()).expect("a request")).await).await
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: axum::http::HeaderMap,
    pub(super) text: String,
}

impl Answered {
    pub(super) async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Self { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json", "{}", self.text);
        serde_json::from_str(&self.text).expect("JSON")
    }
}
