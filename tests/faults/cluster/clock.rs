//! The clock of the machine that Redis is on is set by an hour and by a day, to and fro: all nodes take their time from it.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::nodes::{Ended, PATIENCE, Plan, Scene};
use super::server::{Server, program};
use crate::clock::Wall;
use crate::run;
use crate::sink::Manner;

const PEOPLE: u64 = 6;
const ROUNDS: (u32, u32) = (1, 5);
const HOUR_MS: i64 = 3_600_000;
/// How far the clock is off after each step of a round.
const AHEAD_MS: [i64; 6] = [HOUR_MS, 0, 24 * HOUR_MS, 23 * HOUR_MS, -HOUR_MS, 0];
/// How long each delivery is under way, so that there are some at every step.
const SLOW: Duration = Duration::from_millis(1_500);
/// Nodes look once a second.
const NOTICED_WITHIN: Duration = Duration::from_millis(1_500);
/// How long they may take to notice and to go on.
const GOES_ON_WITHIN: Duration = Duration::from_secs(10);

async fn steps(rounds: u32, points: &str, dice: &mut SmallRng) -> (Ended, usize) {
    let wall = Wall::new();
    let redis = Server::start_program(wall.program(&program()), &[]);
    let scene =
        Scene::start(&redis, Plan { points, scale: 1, people: PEOPLE, ..Plan::default() }, dice).await;
    scene.sink.behave(Manner::Slow(SLOW));
    let (mut walks, mut late) = (0, 0);
    for ahead_ms in AHEAD_MS.into_iter().cycle().take(AHEAD_MS.len() * rounds as usize) {
        walks += 1;
        scene.people.walk_until(walks);
        scene.ledger.until_told(walks * PEOPLE).await;
        // Some are under way, or about to be.
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..300))).await;
        wall.set(ahead_ms);
        // Some are taken by a node that has not noticed yet.
        walks += 1;
        scene.people.walk_until(walks);
        scene.ledger.until_told(walks * PEOPLE).await;
        let told = scene.ledger.acknowledged();
        let took = scene.until_delivered(&told, GOES_ON_WITHIN).await;
        println!("{:+} h: all that was acknowledged came after {took:?}", ahead_ms / HOUR_MS);
        late += scene.missing(&told).len();
        // Everybody has noticed before it is set again.
        tokio::time::sleep(NOTICED_WITHIN).await;
    }
    scene.sink.behave(Manner::Well);
    if late > 0 {
        // They would come when the clock does.
        wall.set(48 * HOUR_MS);
    }
    (scene.finish(&redis, PATIENCE).await, late)
}

#[test]
fn a_clock_of_redis_that_is_set_makes_no_delivery_late_or_double() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    let (ended, late) = run::runtime().block_on(steps(rounds, "", &mut dice));
    ended.tell("the clock of Redis is set", rounds * AHEAD_MS.len() as u32);
    ended.assert_kept();
    assert_eq!((late, ended.ledger.repeats().unexplained), (0, 0), "late, and sent by two");
}

/// The control: leases that end when whatever the clock says is over.
#[test]
fn nodes_that_follow_the_clock_blindly_are_caught_sending_what_others_send() {
    let mut dice = run::dice();
    let (ended, late) = run::runtime().block_on(steps(1, "cluster.leases_by_any_clock:on", &mut dice));
    let (told, repeats) = (ended.acknowledged.len(), ended.ledger.repeats());
    let caught = late + usize::try_from(repeats.unexplained).expect("a few");
    let fault = "the clock of Redis is followed blindly, late or twice: control";
    run::tell(fault, AHEAD_MS.len() as u32, told, caught, &repeats.to_string());
    assert!(repeats.unexplained > 0, "the harness would not notice");
}
