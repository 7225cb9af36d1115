//! The calls that the rows make, over one channel.

use std::time::Duration;

use runyard_proto::v1;
use runyard_proto::v1::fleet_client::FleetClient;
use runyard_proto::v1::runs_client::RunsClient;
use runyard_transport::token::UserToken;
use runyard_transport::{AuthInterceptor, Trust};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor as _;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::Failure;

/// The project that everything runs in.
const PROJECT: &str = "default";
/// How often a wait for one task looks.
pub(crate) const LOOK: Duration = Duration::from_millis(2);

/// A channel that sends the token.
pub(crate) type Authorised = InterceptedService<Channel, AuthInterceptor>;

/// A connected client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) channel: Channel,
    auth: AuthInterceptor,
}

impl Client {
    pub(crate) async fn connect(
        address: &str,
        trust: Trust,
        token: &UserToken,
    ) -> Result<Self, Failure> {
        let channel = runyard_transport::connect_user(&[address.to_owned()], trust).await?;
        Ok(Self { channel, auth: AuthInterceptor::new(token) })
    }

    /// What each call carries beside its message.
    pub(crate) fn metadata(&self) -> MetadataMap {
        let mut auth = self.auth.clone();
        auth.call(tonic::Request::new(()))
            .map(|request| request.metadata().clone())
            .unwrap_or_default()
    }

    pub(crate) fn runs(&self) -> RunsClient<Authorised> {
        let service = InterceptedService::new(self.channel.clone(), self.auth.clone());
        RunsClient::new(service).max_decoding_message_size(64 << 20)
    }

    /// Nodes that can be given work.
    pub(crate) async fn ready_nodes(&self) -> Result<usize, Failure> {
        let service = InterceptedService::new(self.channel.clone(), self.auth.clone());
        let answer = FleetClient::new(service).list_nodes(v1::ListNodesRequest::default()).await?;
        Ok(answer.into_inner().items.iter().filter(|node| node.liveness == "ready").count())
    }

    /// Submits a pipeline; nothing of it is taken from the cache.
    pub(crate) async fn submit(&self, pipeline: String) -> Result<String, Failure> {
        let request = v1::SubmitRequest {
            project: PROJECT.into(),
            idempotency_key: ulid::Ulid::generate().to_string(),
            pipeline,
            file_name: "bench.yaml".into(),
            no_cache: true,
            strict: true,
            ..Default::default()
        };
        Ok(self.runs().submit(request).await?.into_inner().run)
    }

    /// Waits until nothing runs, looking each `every`: the coordinator goes through all tasks of a live run
    /// for a look.
    pub(crate) async fn quiet(&self, every: Duration) -> Result<(), Failure> {
        loop {
            let request =
                v1::ListRunsRequest { project: PROJECT.into(), limit: 1, ..Default::default() };
            if self.runs().list(request).await?.into_inner().items.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(every).await;
        }
    }

    /// A run, whole.
    pub(crate) async fn run(&self, run: &str) -> Result<v1::Run, Failure> {
        let request = v1::GetRunRequest { project: PROJECT.into(), run: run.into() };
        Ok(self.runs().get(request).await?.into_inner())
    }

    /// Waits until nothing runs, and fails unless the run and all its tasks succeeded.
    pub(crate) async fn succeeded(&self, run: &str) -> Result<v1::Run, Failure> {
        self.quiet(LOOK).await?;
        let run = self.run(run).await?;
        let unlike =
            run.stages.iter().flat_map(|stage| &stage.tasks).find(|task| task.state != "succeeded");
        match unlike {
            None if run.state == "succeeded" => Ok(run),
            None => Err(format!("{} is {}: {}", run.name, run.state, run.reason).into()),
            Some(task) => Err(format!("{} is {}: {}", task.key, task.state, task.reason).into()),
        }
    }

    /// A log from its beginning, followed to its end.
    pub(crate) async fn follow(
        &self,
        run: &str,
    ) -> Result<tonic::Streaming<v1::LogRecord>, Failure> {
        let request = v1::LogsRequest {
            project: PROJECT.into(),
            target: run.into(),
            follow: true,
            ..Default::default()
        };
        Ok(self.runs().logs(request).await?.into_inner())
    }

    /// Stops a run.
    pub(crate) async fn cancel(&self, run: &str) -> Result<(), Failure> {
        let request = v1::CancelRequest {
            project: PROJECT.into(),
            run: run.into(),
            reason: "measured".into(),
        };
        self.runs().cancel(request).await?;
        self.quiet(LOOK).await
    }
}

/// A pipeline of one stage with `tasks` tasks, each of one CPU.
pub(crate) fn pipeline(command: &str, tasks: usize) -> String {
    let mut text = format!(
        "version: 1\nname: bench\nstages:\n  t:\n    run: {}\n    resources: {{ cpu: 1 }}\n",
        serde_json::Value::from(command)
    );
    if tasks > 1 {
        let numbers: Vec<String> = (0..tasks).map(|n| n.to_string()).collect();
        text.push_str(&format!("    matrix: {{ axes: {{ n: [{}] }} }}\n", numbers.join(", ")));
    }
    text
}

/// This program as a payload, for a shell.
pub(crate) fn payload(args: &[&str]) -> Result<String, Failure> {
    let own = std::env::current_exe()?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut words = vec![quoted(&own.display().to_string())];
    words.extend(args.iter().map(|arg| quoted(arg)));
    Ok(words.join(" "))
}
