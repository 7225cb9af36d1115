//! Some seconds' worth of histories; `cargo run -p runyard-simulation -- --seeds 1000` looks further.

use std::time::{Duration, Instant};

use runyard_simulation::{Options, run};

const STEPS: u64 = 6_000;

fn scale() -> u64 {
    std::env::var("RUNYARD_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn what_must_hold_holds_under_faults_and_rest_follows() {
    let (began, mut seeds) = (Instant::now(), 0);
    let (mut crashes, mut lost, mut chained, mut given_back) = (0, 0, 0, 0);
    while seeds < 4 || began.elapsed() < Duration::from_secs(20 * scale()) {
        match run(Options { seed: seeds, steps: STEPS, trace: false }) {
            Ok(summary) => {
                crashes += summary.coordinator_crashes;
                lost += summary.lost;
                chained += summary.chained;
                given_back += summary.given_back;
            }
            Err(broken) => panic!("{broken}"),
        }
        seeds += 1;
    }
    assert!(lost > 0 || seeds < 20, "nodes must be lost with their attempts");
    assert!(chained > 0 && given_back > 0, "tasks are placed ahead: {chained}, {given_back}");
    assert!(crashes > seeds, "faults must happen: {crashes} crashes in {seeds} histories");
}

#[test]
fn a_seed_replays_to_the_last_byte() {
    let options = Options { seed: 4_711, steps: 3_000, trace: false };
    let first = run(options).expect("nothing breaks");
    let again = run(options).expect("nothing breaks");
    assert_eq!(first, again);
}
