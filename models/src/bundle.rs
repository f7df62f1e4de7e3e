//! A model bundle: everything that scoring needs, in one checked file.
//!
//! Layout: 8 bytes of magic, format version (u32), xxh3 of all that follows (u64), length before compression (u64), all
//! little endian; then zstd of bitcode. Reading checks the sum first and every part afterwards, so that scoring need not.
//! Deliberately absent: files and registries. Bundles of an older format are refused, not guessed at.

use crate::calibrate::Calibrator;
use crate::combine::Weights;
use crate::ensemble::{Ensemble, MEMBERS, ModelScore, Scratch};
use crate::explain::{Explainer, Reason};
use crate::features::{FEATURE_SCHEMA, FEATURES, GROUPS, Group, Row};
use crate::forest::{ForestError, Packed, pack::Stored};
use crate::histogram::Histogram;
use crate::mahalanobis::Mahalanobis;
use crate::matrix;
use crate::references::References;
use crate::scaling::Scaling;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 8] = *b"PULSEMDL";
/// Raised when the layout of the bytes changes.
const FORMAT: u32 = 1;
const HEADER: usize = 8 + 4 + 8 + 8;
/// Uncompressed size at most: eight models need about 3 MiB.
const MAX_BYTES: usize = 64 << 20;
/// Fast; the trees' padding vanishes at any level.
const ZSTD_LEVEL: i32 = 3;
/// Longest version text and list of exclusions.
const MAX_TEXT: usize = 10_000;

/// Why a bundle was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Too short, or not a bundle.
    #[error("not a model bundle")]
    Magic,
    /// Another format version.
    #[error("bundle format {0}, this program reads {FORMAT}")]
    Format(u32),
    /// The bytes are not those that were written.
    #[error("the bundle is damaged: its checksum does not match")]
    Checksum,
    /// The content cannot be decoded.
    #[error("the bundle cannot be decoded")]
    Decode,
    /// Made for another feature schema.
    #[error(
        "bundle for feature schema {found} with {columns} columns, this program has {FEATURE_SCHEMA} with {FEATURES}"
    )]
    Schema {
        /// Its schema.
        found: u32,
        /// Its columns.
        columns: u32,
    },
    /// A forest that cannot be walked.
    #[error("forest of group {0}: {1}")]
    Forest(String, ForestError),
    /// A model with parts that do not fit or numbers that are not finite.
    #[error("the model of group {0} is not sound")]
    Model(String),
    /// Weights, thresholds or texts out of range.
    #[error("weights, thresholds or texts are out of range")]
    Settings,
}

/// The model of one group of event types.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupModel {
    pub(crate) ensemble: Ensemble,
    pub(crate) explainer: Explainer,
    pub(crate) combined: Calibrator,
    pub(crate) weights: Weights,
}

impl GroupModel {
    /// Adds one score for each row. No allocation but for `out`.
    pub fn score(&self, rows: &[Row], scratch: &mut Scratch, out: &mut Vec<ModelScore>) {
        self.ensemble.score(matrix::view(rows.as_flattened(), FEATURES), scratch, out);
    }

    /// -log10 p of an event, from its parts' -log10 p; `None` where a part had no say.
    pub fn combine(&self, base: f64, rules: Option<f64>, supervised: Option<f64>) -> f64 {
        self.combined.log_p(self.weights.sum(base, rules, supervised))
    }

    /// Puts the reasons of a row into `out`, the strongest first.
    pub fn explain(&self, row: &Row, out: &mut Vec<Reason>) {
        self.explainer.explain(row, &self.ensemble.scaling, &self.ensemble.mahalanobis, out);
    }

    fn is_sound(&self) -> bool {
        self.ensemble.is_sound()
            && self.ensemble.columns() == FEATURES
            && self.explainer.is_sound(self.ensemble.scaling.width())
            && self.combined.is_sound()
    }
}

/// All models of one version, with what they were made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// Name and number, such as `global_model@v0`.
    pub version: String,
    /// The features it was fitted on.
    pub feature_schema: u32,
    /// Models by `Group` number; a group without one is scored by the pooled model.
    pub groups: [Option<GroupModel>; GROUPS.len()],
    /// Fitted on all groups.
    pub pooled: GroupModel,
    /// Weights of model, rules and labels.
    pub weights: Weights,
    /// First thresholds by group, as scores.
    pub thresholds: [f64; GROUPS.len()],
    /// First and last event time of the training rows, milliseconds since the epoch.
    pub window_ms: (i64, i64),
    /// Training rows by group.
    pub rows: [u64; GROUPS.len()],
    /// Seed of the fit.
    pub seed: u64,
    /// What was left out of training, in words.
    pub exclusions: Vec<String>,
    /// xxh3 of the stored content.
    pub checksum: u64,
}

/// What a bundle says of itself, for people and the registry.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ModelCard {
    /// Name and number.
    pub version: String,
    /// Feature schema.
    pub feature_schema: u32,
    /// Seed of the fit.
    pub seed: u64,
    /// First and last event time, milliseconds since the epoch.
    pub window_ms: (i64, i64),
    /// What was left out.
    pub exclusions: Vec<String>,
    /// Weights of the parts.
    pub weights: Weights,
    /// By group.
    pub groups: Vec<GroupCard>,
    /// Checksum in hexadecimal.
    pub checksum: String,
}

/// One group in a [`ModelCard`].
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GroupCard {
    /// Which group.
    pub group: Group,
    /// Training rows.
    pub rows: u64,
    /// Has it a model of its own, or is it scored by the pooled one?
    pub own_model: bool,
    /// Columns in use, of all.
    pub columns_used: usize,
    /// First threshold.
    pub threshold: f64,
}

#[derive(bitcode::Encode, bitcode::Decode)]
struct StoredModel {
    scaling: Scaling,
    forest: Option<Stored>,
    histogram: Histogram,
    references: References,
    mahalanobis: Mahalanobis,
    calibrators: [Calibrator; MEMBERS],
    weights: [f64; MEMBERS],
    base: Calibrator,
    explainer: Explainer,
    combined: Calibrator,
}

#[derive(bitcode::Encode, bitcode::Decode)]
struct StoredBundle {
    version: String,
    feature_schema: u32,
    columns: u32,
    groups: Vec<Option<StoredModel>>,
    pooled: StoredModel,
    weights: Weights,
    thresholds: [f64; GROUPS.len()],
    window_ms: (i64, i64),
    rows: [u64; GROUPS.len()],
    seed: u64,
    exclusions: Vec<String>,
}

impl Bundle {
    /// The model for a group: its own, else the pooled one.
    pub fn model(&self, group: Group) -> &GroupModel {
        let own = |g: Group| self.groups.get(g as usize).and_then(Option::as_ref);
        own(group).unwrap_or(&self.pooled)
    }

    /// First threshold of a group.
    pub fn threshold(&self, group: Group) -> f64 {
        self.thresholds.get(group as usize).copied().unwrap_or(crate::quantile::START)
    }

    /// The same bytes for the same bundle.
    pub fn to_bytes(&self) -> Vec<u8> {
        let content = self.content();
        // Compression into memory cannot fail; an empty result would be refused when read.
        let packed = zstd::bulk::compress(&content, ZSTD_LEVEL).unwrap_or_default();
        let mut tail = (content.len() as u64).to_le_bytes().to_vec();
        tail.extend(packed);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(xxh3_64(&tail).to_le_bytes());
        bytes.extend(tail);
        bytes
    }

    /// Reads and checks everything.
    pub fn from_bytes(bytes: &[u8]) -> Result<Bundle, BundleError> {
        let field = |from: usize, to: usize| bytes.get(from..to).ok_or(BundleError::Magic);
        let number =
            |from: usize| field(from, from + 8).map(|b| b.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b)));
        if field(0, 8)? != MAGIC {
            return Err(BundleError::Magic);
        }
        let format = field(8, 12)?.iter().rev().fold(0u32, |n, b| n << 8 | u32::from(*b));
        if format != FORMAT {
            return Err(BundleError::Format(format));
        }
        let (sum, length) = (number(12)?, number(20)?);
        if xxh3_64(bytes.get(20..).unwrap_or_default()) != sum {
            return Err(BundleError::Checksum);
        }
        let length = usize::try_from(length).ok().filter(|l| *l <= MAX_BYTES).ok_or(BundleError::Decode)?;
        let packed = bytes.get(HEADER..).unwrap_or_default();
        let content = zstd::bulk::decompress(packed, length).map_err(|_| BundleError::Decode)?;
        let stored: StoredBundle = bitcode::decode(&content).map_err(|_| BundleError::Decode)?;
        restore(stored, xxh3_64(&content))
    }

    /// Summary for people.
    pub fn card(&self) -> ModelCard {
        let group = |g: &Group| GroupCard {
            group: *g,
            rows: self.rows.get(*g as usize).copied().unwrap_or(0),
            own_model: self.groups.get(*g as usize).is_some_and(Option::is_some),
            columns_used: self.model(*g).ensemble.scaling.width(),
            threshold: self.threshold(*g),
        };
        ModelCard {
            version: self.version.clone(),
            feature_schema: self.feature_schema,
            seed: self.seed,
            window_ms: self.window_ms,
            exclusions: self.exclusions.clone(),
            weights: self.weights,
            groups: GROUPS.iter().map(group).collect(),
            checksum: format!("{:016x}", self.checksum),
        }
    }

    /// Fills in the checksum.
    pub(crate) fn sealed(self) -> Bundle {
        let checksum = xxh3_64(&self.content());
        Bundle { checksum, ..self }
    }

    fn content(&self) -> Vec<u8> {
        bitcode::encode(&StoredBundle {
            version: self.version.clone(),
            feature_schema: self.feature_schema,
            columns: FEATURES as u32,
            groups: self.groups.iter().map(|g| g.as_ref().map(store)).collect(),
            pooled: store(&self.pooled),
            weights: self.weights,
            thresholds: self.thresholds,
            window_ms: self.window_ms,
            rows: self.rows,
            seed: self.seed,
            exclusions: self.exclusions.clone(),
        })
    }
}

fn store(model: &GroupModel) -> StoredModel {
    let e = &model.ensemble;
    StoredModel {
        scaling: e.scaling.clone(),
        forest: e.forest.as_ref().map(Packed::store),
        histogram: e.histogram.clone(),
        references: e.references.clone(),
        mahalanobis: e.mahalanobis.clone(),
        calibrators: e.calibrators.clone(),
        weights: e.weights,
        base: e.base.clone(),
        explainer: model.explainer.clone(),
        combined: model.combined.clone(),
    }
}

fn restore(stored: StoredBundle, checksum: u64) -> Result<Bundle, BundleError> {
    if stored.feature_schema != FEATURE_SCHEMA || stored.columns as usize != FEATURES {
        return Err(BundleError::Schema { found: stored.feature_schema, columns: stored.columns });
    }
    let text = stored.version.len() + stored.exclusions.iter().map(String::len).sum::<usize>();
    let score = |t: &f64| (0.0..=1.0).contains(t);
    let whole = stored.groups.len() == GROUPS.len();
    if !whole || !stored.weights.is_sound() || !stored.thresholds.iter().all(score) || text > MAX_TEXT {
        return Err(BundleError::Settings);
    }
    let mut groups: [Option<GroupModel>; GROUPS.len()] = Default::default();
    for ((slot, model), group) in groups.iter_mut().zip(stored.groups).zip(GROUPS) {
        *slot = model.map(|m| restore_model(m, group.name(), stored.weights)).transpose()?;
    }
    Ok(Bundle {
        version: stored.version,
        feature_schema: stored.feature_schema,
        groups,
        pooled: restore_model(stored.pooled, "all", stored.weights)?,
        weights: stored.weights,
        thresholds: stored.thresholds,
        window_ms: stored.window_ms,
        rows: stored.rows,
        seed: stored.seed,
        exclusions: stored.exclusions,
        checksum,
    })
}

fn restore_model(stored: StoredModel, name: &str, weights: Weights) -> Result<GroupModel, BundleError> {
    let forest = stored.forest.as_ref().map(Packed::restore).transpose();
    let ensemble = Ensemble {
        scaling: stored.scaling,
        forest: forest.map_err(|error| BundleError::Forest(name.into(), error))?,
        histogram: stored.histogram,
        references: stored.references,
        mahalanobis: stored.mahalanobis,
        calibrators: stored.calibrators,
        weights: stored.weights,
        base: stored.base,
    };
    let model = GroupModel { ensemble, explainer: stored.explainer, combined: stored.combined, weights };
    if model.is_sound() { Ok(model) } else { Err(BundleError::Model(name.into())) }
}
