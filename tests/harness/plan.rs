//! What goes wrong when, from a seed: kinds are dealt from a shuffled deck, so that a few seeds have had them all.
//!
//! Deliberately absent: doing it.

use crate::proxy::Mode;
use crate::world::Random;
use std::fmt::{Display, Formatter, Result};

/// Parts that are one process, or several of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Gateway(usize),
    Persist,
    Deliver(usize),
    Serve,
    /// A worker process, by its number (counted round).
    Worker(usize),
    /// All worker processes at once.
    Workers,
    /// `pulse cluster` itself.
    Supervisor,
}

/// How many processes and threads, and who supervises: `pulse cluster`, or the harness, with proxies between the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub processes: usize,
    pub threads: usize,
    pub own: bool,
}

/// Names of the links, each with proxies of its own.
pub const LINKS: [&str; 9] = [
    "kafka-gateway",
    "kafka-first",
    "kafka-others",
    "kafka-readers",
    "store-persist",
    "store-deliver",
    "objects",
    "hooks",
    "peers",
];

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill(Who),
    Freeze(Who),
    /// Frozen, replaced by another that goes on, and thawed beside it.
    Zombie(Who),
    BrokerDies,
    BrokerFreezes,
    DatabaseCrashes,
    ObjectsFreeze,
    HooksFail,
    Rescale(Shape),
    Net(&'static str, Mode),
    /// The network holds or is slow, and then who stands behind it dies with all that was on its way.
    NetThenKill(&'static str, Mode, Who),
    /// What they send to brokers or store is slow, and so long after they are at work they die with what is on its way; again and again.
    Crashes {
        who: Who,
        mode: Mode,
        after: [u64; 3],
    },
}

/// A fault, when it begins and when it is over, ms since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub from: u64,
    pub to: u64,
    pub fault: Fault,
}
impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:>7} to {:>7} ms  {:?}", self.from, self.to, self.fault)
    }
}

/// Everything that a seed says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    pub partitions: u16,
    pub shape: Shape,
    pub checkpoint_ms: u64,
    pub steps: Vec<Step>,
    /// Faults begin no more after so long, ms.
    pub length: u64,
}
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Plan { seed, partitions, shape, checkpoint_ms, length, .. } = self;
        writeln!(
            f,
            "seed {seed}: {length} ms, {partitions} partitions, {shape:?}, a checkpoint every {checkpoint_ms} ms"
        )?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

/// Kinds of faults in the deck.
const KINDS: u64 = 22;
/// Between the beginnings of two faults, ms: from, and so much more. A fault may begin while another lasts.
const GAP: (u64, u64) = (500, 2000);
/// How long one lasts, ms.
const LASTS: (u64, u64) = (800, 3200);

impl Plan {
    pub fn new(seed: u64, length: u64) -> Plan {
        // seeds that lie together shall not begin alike
        let mut random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31));
        (0..8).for_each(|_| _ = random.below(2));
        let shape = shape(&mut random);
        let (partitions, checkpoint_ms) = (4 + random.below(3) as u16, 1000 + random.below(500));
        let (mut deck, mut steps, mut at) = (Vec::new(), Vec::new(), 500);
        while at < length {
            if deck.is_empty() {
                deck = (0..KINDS).collect();
            }
            let kind = deck.swap_remove(random.below(deck.len() as u64) as usize);
            let to = at + LASTS.0 + random.below(LASTS.1);
            steps.push(Step { from: at, to, fault: fault(kind, &mut random) });
            at += GAP.0 + random.below(GAP.1);
        }
        Plan { seed, partitions, shape, checkpoint_ms, steps, length }
    }
}

fn shape(random: &mut Random) -> Shape {
    let (processes, threads) = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 1), (2, 1)][random.below(6) as usize];
    Shape { processes, threads, own: random.below(2) == 0 }
}

fn mode(random: &mut Random) -> Mode {
    match random.below(7) {
        0 => Mode::Cut,
        1 => Mode::Hold(None),
        2 => Mode::Hold(Some(random.below(2))),
        3 => Mode::Delay(20 + random.below(400)),
        4 => Mode::Swallow,
        5 => Mode::Late(20 + random.below(400)),
        _ => Mode::Break(2 + random.below(30)),
    }
}

fn fault(kind: u64, random: &mut Random) -> Fault {
    let two = random.below(2) as usize;
    let some = random.below(8) as usize;
    match kind {
        0 => Fault::Kill(Who::Gateway(two)),
        1 => Fault::Kill(Who::Persist),
        2 => Fault::Kill(Who::Deliver(two)),
        3 => Fault::Kill([Who::Serve, Who::Supervisor][two]),
        4 => Fault::Kill(Who::Worker(some)),
        5 => Fault::Kill(Who::Workers),
        6 => Fault::Freeze([Who::Gateway(two), Who::Deliver(two)][some % 2]),
        7 => Fault::Freeze(Who::Persist),
        8 => Fault::Freeze(Who::Worker(some)),
        9 => Fault::Zombie(Who::Workers),
        10 => Fault::Zombie([Who::Persist, Who::Deliver(0)][two]),
        11 => [Fault::BrokerDies, Fault::BrokerFreezes][two],
        12 => Fault::DatabaseCrashes,
        13 => Fault::ObjectsFreeze,
        14 => Fault::HooksFail,
        15 => Fault::Rescale(shape(random)),
        16 => Fault::Net(["peers", "kafka-gateway"][two], mode(random)),
        17 => Fault::Net(LINKS[random.below(LINKS.len() as u64) as usize], mode(random)),
        // what has not left is lost with the process: outputs of a checkpoint that did not wait, entries that nobody has seen
        18 => {
            let slow = [Mode::Hold(Some(random.below(2))), Mode::Hold(None)][two];
            Fault::NetThenKill(
                ["kafka-first", "kafka-others"][some % 2],
                slow,
                [Who::Worker(1), Who::Workers][some / 4],
            )
        }
        19 => {
            let late = 200 + random.below(600);
            Fault::Crashes {
                who: Who::Workers,
                mode: Mode::Late(late),
                after: [0; 3].map(|_| 300 + random.below(1500)),
            }
        }
        20 => {
            let mode = [Mode::Late(30 + random.below(150)), Mode::Delay(20 + random.below(100))][some % 2];
            Fault::Crashes { who: Who::Persist, mode, after: [0; 3].map(|_| 300 + random.below(1500)) }
        }
        _ => {
            let slow = [Mode::Swallow, Mode::Hold(None)][some % 2];
            let (link, who) = [("store-persist", Who::Persist), ("store-deliver", Who::Deliver(some % 2))][two];
            Fault::NetThenKill(link, slow, who)
        }
    }
}

#[test]
fn a_seed_says_everything_and_a_few_seeds_have_all_faults() {
    assert_eq!(Plan::new(7, 60_000), Plan::new(7, 60_000));
    assert_ne!(Plan::new(7, 60_000).steps, Plan::new(8, 60_000).steps);
    let kinds: std::collections::BTreeSet<String> = (1..=3)
        .flat_map(|seed| Plan::new(seed, 60_000).steps)
        .map(|step| format!("{:?}", step.fault).split(['(', ' ']).next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.len(), 12, "{kinds:?}");
}
