//! The four steps. Each ends with what it promised, or with an error that says what was otherwise.

use std::time::{Duration, Instant};

use runyard_proto::v1;

use super::crash;
use super::scene::{Scene, insist, not_so};
use super::telling::{Telling, Told};
use super::traffic::{RATE, Tally, Traffic};
use crate::errors::Result;
use crate::output::plain;

/// How long a rollback may take to be known everywhere after the run is over.
const SETTLE: Duration = Duration::from_secs(20);
/// What the issue promises of a rollback, in traffic to the bad version.
const ROLLBACK_MAX: Duration = Duration::from_secs(5);
/// Traffic goes on for so long after the thing that it is to prove.
const AFTER: Duration = Duration::from_millis(1_500);

/// What the last table shows of a step.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) what: &'static str,
    pub(super) came: String,
}

/// A first model.
pub(super) async fn first(scene: &Scene<'_>) -> Result<Seen> {
    scene.voice.heading("1 of 4  A first model")?;
    scene.voice.say(
        "A logistic regression on half of scikit-learn's digits. There is no champion yet, so the gate\n\
         asks only whether its accuracy is above 0.85, by the lower bound of the confidence interval.",
    )?;
    let run = scene.submit(&[]).await?;
    let mut telling = Telling::new(&scene.client, &scene.voice, &run);
    let mut gate = None;
    while telling.next().await?.is_some() {
        show_gate(scene, &telling, &mut gate).await?;
    }
    let gate = decided(gate)?;
    succeeded(telling.run())?;
    insist(gate.decision == "promoted", || format!("the gate said {}", gate.decision))?;
    let (champion, serving) = (scene.champion().await?, scene.serving().await?);
    insist((champion, serving) == (1, 1), || {
        format!("champion is version {champion}, and version {serving} serves")
    })?;
    let answer = scene.asker.ask().await?;
    scene.voice.event(
        "ok",
        &format!(
            "POST {} → digits {:?} by version {}",
            scene.asker.uri(),
            answer.digits,
            answer.version
        ),
    )?;
    insist(answer.version == "1" && answer.digits == super::files::DIGITS, || {
        format!(
            "version {} read {:?}, not {:?}",
            answer.version,
            answer.digits,
            super::files::DIGITS
        )
    })?;
    Ok(Seen {
        what: "a first model",
        came: "passed on its own, registered as version 1, champion, serving".into(),
    })
}

/// A better one, and a coordinator killed in its middle.
pub(super) async fn better(scene: &Scene<'_>) -> Result<Seen> {
    scene.voice.heading("2 of 4  A better model, and a crash in the middle")?;
    scene.voice.say(&format!(
        "A cross-validated search. The stages that did not change come from the cache. While it\n\
         searches, this demo kills its own coordinator; the search must not notice. Then the new model\n\
         is judged against the live one on the same 899 examples, and takes its place under {RATE}\n\
         requests a second."
    ))?;
    let run = scene.submit(&["model=search"]).await?;
    let mut telling = Telling::new(&scene.client, &scene.voice, &run);
    let (mut crash, mut gate) = (None, None);
    let mut traffic: Option<Traffic> = None;
    while let Some(told) = telling.next().await? {
        if let Told::Line { stage, line } = &told
            && crash.is_none()
            && stage == "train"
            && crash::is_in_the_middle(line)
        {
            crash = Some(crash::crash(scene, line).await?);
        }
        if traffic.is_none() && begun(&telling, "serve") {
            scene.voice.event("running", &format!("{RATE} requests a second from now on"))?;
            traffic = Some(scene.asker.stream());
        }
        show_gate(scene, &telling, &mut gate).await?;
    }
    let gate = decided(gate)?;
    succeeded(telling.run())?;
    insist(gate.decision == "promoted", || format!("the gate said {}", gate.decision))?;
    let traffic = traffic.ok_or_else(|| not_so("the new model was not rolled out"))?;
    tokio::time::sleep(AFTER).await;
    let tally = traffic.finish().await;
    scene.show_tally(&tally)?;
    insist(tally.answered == tally.sent, || unanswered(&tally))?;
    insist(tally.versions.contains_key("1") && tally.versions.contains_key("2"), || {
        format!("the answers came from {:?}, not from both versions", tally.versions.keys())
    })?;
    let (champion, serving) = (scene.champion().await?, scene.serving().await?);
    insist((champion, serving) == (2, 2), || {
        format!("champion is version {champion}, and version {serving} serves")
    })?;
    let crash = crash.ok_or_else(|| not_so("the search ended before it could be interrupted"))?;
    let lines = crash::check_log(scene, &telling).await?;
    scene.voice.event(
        "ok",
        &format!(
            "the coordinator was away for {:.1} s; the search has one attempt, and all {lines} lines of \
             its log are there, in order",
            crash.away.as_secs_f64()
        ),
    )?;
    Ok(Seen {
        what: "a better model, a killed coordinator",
        came: format!(
            "no log line lost; version 2 replaced version 1: {} sent, {} answered",
            tally.sent, tally.answered
        ),
    })
}

/// A worse one.
pub(super) async fn worse(scene: &Scene<'_>) -> Result<Seen> {
    scene.voice.heading("3 of 4  A worse model")?;
    scene
        .voice
        .say("Trained on a fiftieth of the data. The gate has to see it, and to say why.")?;
    let before = scene.deployment().await?.revisions.len();
    let run = scene.submit(&["model=starved"]).await?;
    let mut telling = Telling::new(&scene.client, &scene.voice, &run);
    let mut gate = None;
    while telling.next().await?.is_some() {
        show_gate(scene, &telling, &mut gate).await?;
    }
    let gate = decided(gate)?;
    insist(telling.run().state == "failed", || format!("the run is {}", telling.run().state))?;
    insist(gate.verdict == "fail" && gate.decision == "rejected", || {
        format!("the verdict is {}, the decision {}", gate.verdict, gate.decision)
    })?;
    let (champion, serving) = (scene.champion().await?, scene.serving().await?);
    let after = scene.deployment().await?.revisions.len();
    insist((champion, serving, after) == (2, 2, before), || {
        format!("champion is version {champion}, version {serving} serves, {after} revisions")
    })?;
    scene.voice.event("ok", "digits@champion is still version 2, and nothing was deployed")?;
    Ok(Seen { what: "a worse model", came: "rejected by the gate; nothing moved".into() })
}

/// One that is broken once it is live.
pub(super) async fn broken(scene: &Scene<'_>) -> Result<Seen> {
    scene.voice.heading("4 of 4  A model that is fine offline, and broken once it is live")?;
    scene.voice.say(
        "As good as the champion in the evaluation, but its server answers 500 to every fifth request.\n\
         Only real traffic can tell. The gateway watches the first 20 % of it.",
    )?;
    let run = scene.submit(&["model=svc", "fault=true"]).await?;
    let mut telling = Telling::new(&scene.client, &scene.voice, &run);
    let mut gate = None;
    let mut traffic: Option<Traffic> = None;
    while telling.next().await?.is_some() {
        if traffic.is_none() && begun(&telling, "serve") {
            scene.voice.event("running", &format!("{RATE} requests a second from now on"))?;
            traffic = Some(scene.asker.stream());
        }
        show_gate(scene, &telling, &mut gate).await?;
    }
    let gate = decided(gate)?;
    insist(gate.decision == "promoted", || format!("the gate said {}", gate.decision))?;
    let traffic = traffic.ok_or_else(|| not_so("the model was not rolled out"))?;
    let revision = rolled_back(scene).await?;
    let before = traffic.now();
    tokio::time::sleep(AFTER).await;
    let tally = traffic.finish().await;
    scene.voice.event(
        "rolled_back",
        &format!("revision {}: {}", revision.number, plain(&revision.reason)),
    )?;
    scene.show_tally(&tally)?;
    let window = tally
        .error_first
        .zip(tally.error_last)
        .map_or(Duration::ZERO, |(first, last): (Instant, Instant)| last - first);
    let affected = tally.errors;
    scene.voice.event(
        "ok",
        &format!(
            "{affected} of {} requests met the fault, over {:.1} s; since the rollback, none",
            tally.sent,
            window.as_secs_f64()
        ),
    )?;
    insist(tally.lost == 0 && affected > 0, || unanswered(&tally))?;
    insist(tally.errors == before.errors, || {
        format!("{} requests failed after the rollback", tally.errors - before.errors)
    })?;
    insist(window <= ROLLBACK_MAX, || format!("the rollback took {:.1} s", window.as_secs_f64()))?;
    let (champion, serving) = (scene.champion().await?, scene.serving().await?);
    insist((champion, serving) == (2, 2), || {
        format!("champion is version {champion}, and version {serving} serves")
    })?;
    Ok(Seen {
        what: "a model that is broken live",
        came: format!("rolled back by itself; {affected} of {} requests affected", tally.sent),
    })
}

/// The revision that was rolled back, once that and the alias's way back are known.
async fn rolled_back(scene: &Scene<'_>) -> Result<v1::Revision> {
    let give_up = Instant::now() + SETTLE;
    loop {
        let deployment = scene.deployment().await?;
        let latest = deployment.revisions.into_iter().max_by_key(|revision| revision.number);
        let state = latest.as_ref().map_or_else(|| "absent".to_owned(), |r| r.state.clone());
        match latest {
            Some(revision) if revision.state == "rolled_back" && scene.champion().await? == 2 => {
                return Ok(revision);
            }
            _ if Instant::now() >= give_up => {
                return Err(not_so(format!("the broken revision is {state}, not rolled back")));
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Shows the gate's words once it has decided.
async fn show_gate(
    scene: &Scene<'_>,
    telling: &Telling,
    shown: &mut Option<v1::GateView>,
) -> Result<()> {
    if shown.is_none() && telling.is_decided("gate") {
        *shown = Some(scene.show_gate(&telling.run().name).await?);
    }
    Ok(())
}

fn decided(gate: Option<v1::GateView>) -> Result<v1::GateView> {
    gate.ok_or_else(|| not_so("the gate was not reached; the reasons stand above"))
}

fn begun(telling: &Telling, stage: &str) -> bool {
    telling
        .stage(stage)
        .is_some_and(|s| !matches!(s.state.as_str(), "waiting" | "queued" | "skipped"))
}

fn succeeded(run: &v1::Run) -> Result<()> {
    insist(run.state == "succeeded", || format!("{} is {}: {}", run.name, run.state, run.reason))
}

fn unanswered(tally: &Tally) -> String {
    format!(
        "of {} requests, {} were answered, {} with an error, {} not or wrongly ({})",
        tally.sent, tally.answered, tally.errors, tally.lost, tally.note
    )
}
