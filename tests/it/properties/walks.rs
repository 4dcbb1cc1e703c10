//! Random walks: after every screen the next one is the one that the form means, every walk ends, and what is submitted
//! is what was answered on the branch that was walked.

use std::collections::BTreeMap;

use formgate::flow::compile::{Mode, Settings};
use formgate::flow::handler::{Closing, Completed, Show, Turn};
use formgate::flow::plan::Content;
use serde_json::Map;

use super::phone::{Phone, told};
use super::reference::{Due, Fact, Reference, Walk, is_asked};
use super::truth::{self, Meant, Written, meant};
use super::{Dice, compiled, for_seeds, generate};

/// Forms of the default run, and walks over each of them.
const FORMS: u64 = 300;
const WALKS: usize = 12;

/// What was compared.
#[derive(Debug, Default)]
struct Count {
    steps: usize,
    walks: usize,
    backs: usize,
}

#[test]
fn every_step_of_a_random_walk_is_the_one_that_the_form_means() {
    let mut count = Count::default();
    for_seeds(FORMS, |seed| {
        let form = generate::form(seed);
        let mut dice = Dice::new(seed ^ 0x5eed);
        let mode = if seed % 2 == 0 { Mode::Grouped } else { Mode::OneQuestion };
        let all = super::all_settings();
        let settings = Settings { mode, ..dice.pick(&all).clone() };
        let Some(compiled) = compiled(&form, &settings) else { return };
        let hidden = [("utm", "none"), ("tier", "gold"), ("note", "5")];
        let hidden: BTreeMap<_, _> = hidden
            .into_iter()
            .filter(|_| dice.chance(70))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let phone = Phone::new(compiled, hidden);
        for _ in 0..WALKS {
            walk(&phone, &mut dice, &mut count);
        }
    });
    eprintln!("compared {} steps of {} walks with {} returns", count.steps, count.walks, count.backs);
    let alone = std::env::var("FORMGATE_SEED").is_ok();
    assert!(alone || count.steps >= 100_000, "only {} steps were compared", count.steps);
}

/// A screen with the reference's walk as of it, and the answer that is spread over it.
type Moment = (Show, Walk, Option<(usize, Meant)>);

fn walk(phone: &Phone, dice: &mut Dice, count: &mut Count) {
    let form = phone.form().clone();
    let reference = Reference::new(&form, phone.hidden.clone());
    // A hundred jumps back, each followed by every screen at most, and what comes after them.
    let most = 110 * (phone.handler.plan().screens.len() + 2);
    let mut moment: Moment = (phone.open(), reference.begin(), None);
    let mut earlier: Vec<Moment> = Vec::new();
    let mut returns = dice.below(4);
    count.walks += 1;
    for _ in 0..most {
        if returns > 0 && !earlier.is_empty() && dice.chance(8) {
            // The phone goes back by itself, with its own copy of the screen and that screen's state.
            returns -= 1;
            count.backs += 1;
            moment = earlier[dice.below(earlier.len())].clone();
            let session = moment.0.session.clone().expect("kept with its state");
            let again = phone.handler.again(session, &moment.0.screen).expect("a known screen");
            assert_eq!(again, moment.0, "the same screen for BACK");
        }
        if moment.0.session.is_some() && earlier.len() < 60 {
            earlier.push(moment.clone());
        }
        count.steps += 1;
        match exchange(phone, &reference, dice, moment) {
            Ok(next) => moment = next,
            Err(()) => return,
        }
    }
    panic!("the walk does not end within {most} screens");
}

/// Answers one screen and compares; `Err` at the end of the walk.
fn exchange(phone: &Phone, reference: &Reference<'_>, dice: &mut Dice, moment: Moment) -> Result<Moment, ()> {
    let (show, mut walk, mut pending) = moment;
    assert!(!show.problem, "{}: {:?}", show.screen, show.data.get("error_message"));
    let (index, plan) = phone.plan(&show.screen);
    let mut payload = Map::new();
    let mut goes_on = false;
    let mut asked = Vec::new();
    if let Content::Questions(blocks) = &plan.content {
        assert_eq!(walk.due, Due::Ask(blocks[0].position), "{} is not due", show.screen);
        let mut at = Some(0);
        while let Some(block) = at.map(|index: usize| &blocks[index]) {
            let question = reference.question(block.position);
            let kept = pending.take().filter(|(position, _)| *position == block.position);
            let meant = kept.map_or_else(|| meant(dice, question), |(_, meant)| meant);
            let offered = |name: &str| Phone::offered(&show, name);
            if is_asked(question) {
                asked.push(block.position);
            }
            if let Written::GoesOn = truth::write(&meant, block, question, offered, &mut payload) {
                pending = Some((block.position, meant));
                goes_on = true;
                break;
            }
            reference.answer(&mut walk, meant.given);
            at = match walk.due {
                Due::Ask(next) => {
                    let here = at.unwrap_or(0);
                    blocks.iter().position(|b| b.position == next).filter(|found| *found > here)
                }
                Due::End(_) => None,
            };
        }
        let seen = phone.seen(&show.screen, &payload);
        assert_eq!(seen, asked, "{}: seen and asked, with {payload:?}", show.screen);
        // What a phone may keep of questions that are hidden again says nothing.
        for block in blocks.iter().filter(|block| !asked.contains(&block.position)) {
            if dice.chance(50) {
                let question = reference.question(block.position);
                truth::write(&meant(dice, question), block, question, |_| None, &mut payload);
            }
        }
    }
    match phone.send(&show, &payload) {
        Turn::Show(next) => {
            assert!(
                !next.problem,
                "{} refused {payload:?}: {:?}",
                next.screen,
                next.data.get("error_message")
            );
            let (to, target) = phone.plan(&next.screen);
            if goes_on {
                assert_eq!(to, index + 1, "the next screen goes on with the question");
            } else {
                match (&target.content, walk.due) {
                    (Content::Questions(blocks), Due::Ask(position)) => {
                        assert_eq!(blocks[0].position, position, "from {} to {}", show.screen, next.screen);
                        let before = &phone.handler.plan().screens[to.saturating_sub(1)].content;
                        let is_first = !matches!(before, Content::Questions(blocks) if to > 0
                            && blocks.iter().any(|block| block.position == position));
                        assert!(is_first, "{} is not where the question begins", next.screen);
                    }
                    (Content::Relay, _) => {}
                    (content, due) => panic!("from {}: {content:?} is shown and {due:?} is due", show.screen),
                }
            }
            Ok((next, walk, pending))
        }
        Turn::Finish { completed, then } => {
            judge(phone, &walk, &completed);
            if let Closing::Show(ending) = then {
                let (_, plan) = phone.plan(&ending.screen);
                assert_eq!(plan.content, Content::Ending(completed.ending));
                let Turn::Finish { completed: again, then: Closing::Success } =
                    phone.send(&ending, &Map::new())
                else {
                    panic!("an ending closes the flow");
                };
                assert_eq!(again, completed);
            }
            Err(())
        }
    }
}

/// What is submitted is what was answered on the branch that was walked, and nothing else.
fn judge(phone: &Phone, walk: &Walk, completed: &Completed) {
    assert_eq!(walk.due, Due::End(completed.ending), "the form is not at this end");
    assert_eq!(told(completed), walk.answers());
    assert_eq!(completed.hidden, phone.hidden);
    let sums: BTreeMap<String, Fact> = completed
        .variables
        .iter()
        .map(|(name, value)| {
            use formgate::form::Scalar;
            let fact = match value {
                Scalar::Text(text) => Fact::Word(text.clone()),
                Scalar::Number(number) => Fact::Count(*number),
                Scalar::Bool(flag) => Fact::Flag(*flag),
                Scalar::Many(ids) => Fact::Set(ids.clone()),
            };
            (name.clone(), fact)
        })
        .collect();
    assert_eq!(&sums, walk.sums());
}
