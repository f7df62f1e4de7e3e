//! Is a new model better than the one in force? Asked of rows of a later time than either was fitted on.
//!
//! Without labels: trouble is planted into those rows (columns that never fit each other), and counted is what of it each model
//! finds with the same number of false alarms; and how far each model's p-values are from the shares that they promise. With
//! enough confirmed trouble also how well each ranks it. How much the two lists of alerts have in common is told, not judged.
//! Deliberately absent: which rows, and what happens next.

use crate::bundle::{Bundle, GroupModel};
use crate::ensemble::{ModelScore, Scratch};
use crate::features::{FEATURES, GROUPS, Group, Row};
use crate::metrics::Ranking;
use crate::rng::Rng;
use crate::train::Part;

/// Rows of a group that a comparison needs.
pub const MIN_ROWS: usize = 200;
/// Rows that trouble is planted into, of each group.
const PLANTED: usize = 400;
/// Columns that are exchanged in such a row.
const EXCHANGED: usize = 6;
/// Share of ordinary rows that may be false alarms.
const BUDGET: f64 = 0.01;
/// p-values whose promise is held against what came.
const PROMISES: [f64; 3] = [0.1, 0.01, 0.001];
/// Rows that a promise must expect to be counted.
const EXPECTED: f64 = 5.0;
/// Confirmed trouble from which on its ranking counts.
pub const MIN_CONFIRMED: usize = 50;
/// Better means: so much more found, or not so much less with better promises. Two standard errors of [`PLANTED`] rows are 0.05.
const MARGIN: f64 = 0.02;

/// What one model does on the rows of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Figures {
    /// Share of planted trouble above the level that 1 % of ordinary rows reach.
    pub found: f64,
    /// Mean distance of realised from promised shares, in decades: 0 is right, 0.3 twice or half.
    pub promise: f64,
    /// Average precision on confirmed trouble; `None` with fewer than [`MIN_CONFIRMED`].
    pub precision: Option<f64>,
}

/// Both models on one group.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GroupComparison {
    /// Which group.
    pub group: Group,
    /// Ordinary rows.
    pub rows: u64,
    /// Rows of confirmed trouble.
    pub confirmed: u64,
    /// The model in force.
    pub champion: Figures,
    /// The new one.
    pub challenger: Figures,
    /// Alerts that both would raise, of all that either would (Jaccard index).
    pub overlap: f64,
}

/// A comparison over all groups with enough rows.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Comparison {
    /// By group.
    pub groups: Vec<GroupComparison>,
    /// Means over the groups, weighed by rows.
    pub champion: Figures,
    /// The same of the new one.
    pub challenger: Figures,
    /// Is the new one better?
    pub better: bool,
}

/// Ordinary rows of a later time, and confirmed trouble among them.
#[derive(Clone, Debug)]
pub struct Held {
    /// Ordinary.
    pub ordinary: Part,
    /// Confirmed trouble.
    pub confirmed: Part,
}

/// Compares. The same rows and seed give the same answer.
pub fn compare(champion: &Bundle, challenger: &Bundle, held: &[Held], seed: u64) -> Comparison {
    let groups: Vec<GroupComparison> = held
        .iter()
        .filter(|held| held.ordinary.rows.len() >= MIN_ROWS)
        .map(|held| of_group(champion, challenger, held, seed))
        .collect();
    let mean = |of: fn(&GroupComparison) -> Figures| {
        let whole: f64 = groups.iter().map(|g| g.rows as f64).sum::<f64>().max(1.0);
        let weighed = |value: fn(&Figures) -> f64| groups.iter().map(|g| value(&of(g)) * g.rows as f64 / whole).sum();
        let ranked: Vec<f64> = groups.iter().filter_map(|g| of(g).precision).collect();
        let precision = (!ranked.is_empty()).then(|| ranked.iter().sum::<f64>() / ranked.len() as f64);
        Figures { found: weighed(|f| f.found), promise: weighed(|f| f.promise), precision }
    };
    let (champion, challenger) = (mean(|g| g.champion), mean(|g| g.challenger));
    let better = !groups.is_empty() && better(&champion, &challenger);
    Comparison { groups, champion, challenger, better }
}

fn better(champion: &Figures, challenger: &Figures) -> bool {
    if let (Some(before), Some(after)) = (champion.precision, challenger.precision)
        && after < before - MARGIN
    {
        return false;
    }
    let more = challenger.found - champion.found;
    more > MARGIN && challenger.promise < champion.promise + 0.3
        || more > -MARGIN && challenger.promise <= champion.promise
}

fn of_group(champion: &Bundle, challenger: &Bundle, held: &Held, seed: u64) -> GroupComparison {
    let group = held.ordinary.group;
    let planted = plant(&held.ordinary, seed);
    let levels = |bundle: &Bundle| {
        let model = bundle.model(group);
        (surprises(model, &held.ordinary), surprises(model, &planted), surprises(model, &held.confirmed))
    };
    let (before, after) = (levels(champion), levels(challenger));
    GroupComparison {
        group,
        rows: held.ordinary.rows.len() as u64,
        confirmed: held.confirmed.rows.len() as u64,
        overlap: overlap(&before.0, &after.0),
        champion: figures(&before),
        challenger: figures(&after),
    }
}

/// -log10 p of every row, rules and all.
fn surprises(model: &GroupModel, part: &Part) -> Vec<f64> {
    let (mut scratch, mut scores) = (Scratch::default(), Vec::<ModelScore>::new());
    model.score(&part.rows, &mut scratch, &mut scores);
    let rules = |i: usize| part.rules.get(i).copied().flatten().map(f64::from);
    scores.iter().enumerate().map(|(i, score)| model.combine(score.base, rules(i), None)).collect()
}

/// Rows whose columns come from different rows, one another's most extreme of ten: each is likely by itself, together they are not.
fn plant(part: &Part, seed: u64) -> Part {
    let mut rng = Rng::new(seed, 0x6a7e + part.group as u64);
    let count = part.rows.len();
    let rows = rng.sample(count, PLANTED).into_iter().filter_map(|i| {
        let mut row: Row = *part.rows.get(i)?;
        for column in rng_columns(seed, i) {
            let donors = (0..10).filter_map(|_| part.rows.get(rng.below(count))?.get(column).copied());
            let far = donors.filter(|v| v.is_finite()).max_by(f32::total_cmp);
            if let (Some(slot), Some(value)) = (row.get_mut(column), far) {
                *slot = value;
            }
        }
        Some(row)
    });
    let rows: Vec<Row> = rows.collect();
    Part { group: part.group, rules: vec![None; rows.len()], rows }
}

fn rng_columns(seed: u64, row: usize) -> Vec<usize> {
    Rng::new(seed.wrapping_add(row as u64), 0xc01).sample(FEATURES, EXCHANGED)
}

/// The level that so large a share of the values reaches.
fn level(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let above = (values.len() as f64 * share) as usize;
    sorted.len().checked_sub(1 + above).and_then(|i| sorted.get(i)).copied().unwrap_or(f64::INFINITY)
}

fn figures((ordinary, planted, confirmed): &(Vec<f64>, Vec<f64>, Vec<f64>)) -> Figures {
    let alarm = level(ordinary, BUDGET);
    let found = planted.iter().filter(|s| **s > alarm).count() as f64 / planted.len().max(1) as f64;
    let rows = ordinary.len() as f64;
    let distances: Vec<f64> = PROMISES
        .into_iter()
        .filter(|p| p * rows >= EXPECTED)
        .map(|p| {
            let came = ordinary.iter().filter(|s| **s >= -libm::log10(p)).count() as f64;
            libm::log10(came.max(0.5) / (p * rows)).abs()
        })
        .collect();
    let promise = distances.iter().sum::<f64>() / distances.len().max(1) as f64;
    let precision = (confirmed.len() >= MIN_CONFIRMED).then(|| {
        let mut ranking = Ranking::default();
        ordinary.iter().for_each(|s| ranking.add(crate::combine::score(*s), false));
        confirmed.iter().for_each(|s| ranking.add(crate::combine::score(*s), true));
        ranking.average_precision()
    });
    Figures { found, promise, precision: precision.flatten() }
}

/// Jaccard index of the rows above each model's level.
fn overlap(before: &[f64], after: &[f64]) -> f64 {
    let (a, b) = (level(before, BUDGET), level(after, BUDGET));
    let pairs = before.iter().zip(after).map(|(x, y)| (*x > a, *y > b));
    let (both, either) =
        pairs.fold((0u32, 0u32), |(both, either), (x, y)| (both + u32::from(x && y), either + u32::from(x || y)));
    if either == 0 { 1.0 } else { f64::from(both) / f64::from(either) }
}

/// Groups that have rows, each with what is held of it.
pub fn held(ordinary: Vec<Part>, confirmed: Vec<Part>) -> Vec<Held> {
    let one = |parts: &[Part], group: Group| {
        let found = parts.iter().find(|part| part.group == group);
        found.cloned().unwrap_or_else(|| Part::new(group, vec![]))
    };
    let all =
        GROUPS.into_iter().map(|group| Held { ordinary: one(&ordinary, group), confirmed: one(&confirmed, group) });
    all.filter(|held| !held.ordinary.rows.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Options, fit};

    /// Two columns that move together, others by themselves.
    fn rows(count: usize, seed: u64, scale: f32) -> Vec<Row> {
        let mut rng = Rng::new(seed, 1);
        let row = |_| {
            let mut row: Row = [f32::NAN; FEATURES];
            let shared = rng.unit() as f32;
            for (i, slot) in row.iter_mut().take(12).enumerate() {
                *slot = scale * (1.0 + shared * 4.0 + (i as f32 + 1.0) * rng.unit() as f32 * 0.2);
            }
            row
        };
        (0..count).map(row).collect()
    }
    fn bundle(rows: Vec<Row>) -> Bundle {
        fit(&[Part::new(Group::Order, rows)], &Options::default()).unwrap()
    }
    fn later(count: usize, seed: u64, scale: f32) -> Vec<Held> {
        held(vec![Part::new(Group::Order, rows(count, seed, scale))], vec![])
    }

    #[test]
    fn who_knows_the_shop_of_today_is_better() {
        let (old, new) = (bundle(rows(4000, 1, 1.0)), bundle(rows(4000, 2, 30.0)));
        let held = later(3000, 3, 30.0);
        let comparison = compare(&old, &new, &held, 1);
        assert!(comparison.better, "{comparison:?}");
        assert!(comparison.challenger.promise < 0.2 && comparison.champion.promise > 0.5, "{comparison:?}");
        assert!(!compare(&new, &old, &held, 1).better, "and not the other way round");
        assert_eq!(comparison, compare(&old, &new, &held, 1), "repeatable");
    }

    #[test]
    fn a_model_is_as_good_as_itself_and_nothing_is_said_of_few_rows() {
        let model = bundle(rows(4000, 1, 1.0));
        let comparison = compare(&model, &model, &later(3000, 3, 1.0), 1);
        assert_eq!((comparison.champion, comparison.groups[0].overlap), (comparison.challenger, 1.0));
        assert!(comparison.champion.found > 0.3, "{comparison:?}");
        assert!(!compare(&model, &model, &later(MIN_ROWS - 1, 3, 1.0), 1).better);
    }

    #[test]
    fn confirmed_trouble_counts_from_fifty_on() {
        let (model, other) = (bundle(rows(4000, 1, 1.0)), bundle(rows(4000, 2, 1.0)));
        for (count, counts) in [(MIN_CONFIRMED - 1, false), (MIN_CONFIRMED, true)] {
            let confirmed = Part::new(Group::Order, rows(count, 9, 100.0));
            let held = held(vec![Part::new(Group::Order, rows(1000, 3, 1.0))], vec![confirmed]);
            assert_eq!(compare(&model, &other, &held, 1).champion.precision.is_some(), counts);
        }
    }
}
