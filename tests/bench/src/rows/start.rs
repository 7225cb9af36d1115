//! A coordinator's start to its first answer.

use std::time::{Duration, Instant};

use runyard_transport::token::UserToken;
use runyard_transport::{Trust, certificate_from_pem};

use crate::Failure;
use crate::args::Args;
use crate::client::Client;
use crate::cluster::{folder, init, program, serve};
use crate::figures::{Goal, Values, goal, heading, line, skipped};
use crate::peers::HyperQueue;

/// A coordinator that has not answered by then never will.
const GIVE_UP: Duration = Duration::from_secs(10);

pub(crate) async fn measure(args: &Args) -> Result<(), Failure> {
    heading("started to serving, seconds");
    let runyard = program(args)?;
    let dir = folder(args)?;
    init(&runyard, dir.path())?;
    let token = std::fs::read_to_string(dir.path().join("server/admin.token"))?;
    let token: UserToken = token.trim().parse().map_err(|_| "the admin's token cannot be read")?;
    let ca = certificate_from_pem(&std::fs::read_to_string(dir.path().join("ca.pem"))?)?;
    let (mut first, mut again, mut theirs) =
        (Values::default(), Values::default(), Values::default());
    for round in 0..args.rounds.max(5) {
        let begun = Instant::now();
        let (mut child, address) = serve(&runyard, dir.path(), "error")?;
        let answered = until_answered(&address, Trust::Ca(ca.clone()), &token).await;
        let seconds = begun.elapsed().as_secs_f64();
        // As a crash would: the next start recovers.
        child.kill()?;
        child.wait()?;
        answered?;
        if round == 0 {
            first.push(seconds)
        } else {
            again.push(seconds)
        }
        if let Some(hq) = HyperQueue::start(&args.hq)? {
            theirs.push(hq.start_s);
        }
    }
    line("the first start", &first.spread(3));
    line("again, after kill -9", &again.spread(3));
    if !theirs.is_empty() {
        line("HyperQueue, with its worker", &theirs.spread(3));
    }
    skipped("etcd", "not started here");
    goal("seconds", again.median(), Goal::Below(0.3), 3);
    Ok(())
}

/// A call that reads the state, until it is answered.
async fn until_answered(address: &str, trust: Trust, token: &UserToken) -> Result<(), Failure> {
    let give_up = Instant::now() + GIVE_UP;
    loop {
        let asked =
            async { Client::connect(address, trust.clone(), token).await?.ready_nodes().await };
        match asked.await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > give_up => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}
