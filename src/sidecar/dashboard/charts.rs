//! Pictures: series with what was expected, bars by hour, reasons. SVG without style or script in it: colours come from the style sheet, values
//! from the tooltips of what lies over each step.

use super::words::{self, number};
use crate::json::rfc3339;
use crate::store::query::series::Point;
use maud::{Markup, html};

/// Size of a chart, in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 150.0;
/// Room below the highest value.
const HEAD: f64 = 1.12;

/// A series to draw.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its name for people.
    pub title: String,
    /// Its name.
    pub metric: String,
    /// Which segment; empty for the whole.
    pub dimensions: String,
    /// In order of time.
    pub points: Vec<Point>,
    /// Left edge, ms.
    pub from_ms: i64,
    /// Right edge, ms.
    pub to_ms: i64,
    /// Width of a point, ms.
    pub step_ms: i64,
}

impl Chart {
    /// Is there anything to compare with?
    pub fn learnt(&self) -> bool {
        self.points.iter().any(|point| point.expected.is_some())
    }
}

struct Scale {
    from_ms: i64,
    width_ms: f64,
    bottom: f64,
    height: f64,
}
impl Scale {
    fn of(chart: &Chart) -> Scale {
        let values = || chart.points.iter().flat_map(|p| [p.value, p.expected.map_or(0.0, |(_, high)| high)]);
        let top = values().chain(chart.points.iter().filter_map(|p| p.last_week)).fold(1e-9f64, f64::max) * HEAD;
        let bottom = chart.points.iter().map(|p| p.value).fold(0.0f64, f64::min);
        let width_ms = (chart.to_ms - chart.from_ms).max(1) as f64;
        Scale { from_ms: chart.from_ms, width_ms, bottom, height: (top - bottom).max(1e-9) }
    }
    fn x(&self, ms: i64) -> f64 {
        (ms - self.from_ms) as f64 / self.width_ms * WIDTH
    }
    fn y(&self, value: f64) -> f64 {
        (HEIGHT - (value - self.bottom) / self.height * HEIGHT).clamp(0.0, HEIGHT)
    }
    fn at(&self, ms: i64, value: f64) -> String {
        format!("{:.1},{:.1}", self.x(ms), self.y(value))
    }
}

/// What a point says.
fn told(point: &Point) -> String {
    let mut text = format!("{} UTC: {}", words::clock(point.time_ms), number(point.value));
    if let Some((low, high)) = point.expected {
        text += &format!(" (usual {} to {})", number(low), number(high));
    }
    if let Some(before) = point.last_week {
        text += &format!(", a week before {}", number(before));
    }
    text
}

/// A series as a figure.
pub fn line(chart: &Chart) -> Markup {
    let scale = Scale::of(chart);
    let points = &chart.points;
    let middle = |ms: i64| ms + chart.step_ms / 2;
    let join = |places: Vec<String>| places.join(" ");
    let curve = join(points.iter().map(|p| scale.at(middle(p.time_ms), p.value)).collect());
    let before = join(points.iter().filter_map(|p| Some(scale.at(middle(p.time_ms), p.last_week?))).collect());
    let bounds: Vec<(i64, f64, f64)> =
        points.iter().filter_map(|p| p.expected.map(|(low, high)| (middle(p.time_ms), low, high))).collect();
    let above = bounds.iter().map(|(ms, _, high)| scale.at(*ms, *high));
    let band = join(above.chain(bounds.iter().rev().map(|(ms, low, _)| scale.at(*ms, *low))).collect());
    let width = chart.step_ms as f64 / scale.width_ms * WIDTH;
    let last = points.last();
    html! {
        figure.chart data-metric=(chart.metric) data-dimensions=(chart.dimensions) data-from=(chart.from_ms) data-to=(chart.to_ms)
            data-step=(chart.step_ms / 60_000) {
            figcaption {
                span.name { (chart.title) }
                @match last {
                    Some(point) => { b data-value=(point.value) { (number(point.value)) } }
                    None => { span.dim { "no data yet" } }
                }
                @if let Some((low, high)) = last.and_then(|point| point.expected) {
                    span.dim { "usual " (number(low)) " to " (number(high)) }
                } @else if last.is_some() { span.dim { "learning what is usual" } }
            }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
                aria-label=(format!("{}: {}", chart.title, last.map_or("no data yet".into(), told))) {
                @if !band.is_empty() { polygon.band points=(band) {} }
                @if !before.is_empty() { polyline.before points=(before) {} }
                polyline.curve points=(curve) {}
                @for p in points.iter().filter(|p| p.anomalous) {
                    (mark(scale.x(middle(p.time_ms)), scale.y(p.value)))
                }
                g.hover {
                    @for p in points {
                        rect x=(format!("{:.1}", scale.x(p.time_ms))) width=(format!("{width:.1}")) height=(HEIGHT)
                            data-time=(rfc3339(p.time_ms)) data-value=(p.value) { title { (told(p)) } }
                    }
                }
            }
            p.edges.dim aria-hidden="true" { span { (words::clock(chart.from_ms)) } span { (words::clock(chart.to_ms)) } }
        }
    }
}

/// A dot that stays round however the picture is stretched: a line without length and with round ends.
fn mark(x: f64, y: f64) -> Markup {
    html! { line.mark x1=(format!("{x:.1}")) x2=(format!("{x:.1}")) y1=(format!("{y:.1}")) y2=(format!("{y:.1}")) {} }
}

/// Counts by hour, the oldest first; the last is not over.
pub fn hours(name: &str, counts: &[u64], now_ms: i64) -> Markup {
    let top = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let hour = now_ms.div_euclid(3_600_000) * 3_600_000;
    let total: u64 = counts.iter().sum();
    html! {
        svg.hours viewBox=(format!("0 0 {} 24", counts.len() * 5)) preserveAspectRatio="none" role="img"
            aria-label=(format!("{name}: {} in {} hours", words::many(total, "event", "events"), counts.len())) {
            @for (i, n) in counts.iter().enumerate() {
                @let height = *n as f64 / top * 23.0;
                @let from = hour - (counts.len() - 1 - i) as i64 * 3_600_000;
                rect.bar x=(i * 5) y=(format!("{:.1}", 24.0 - height)) width="4" height=(format!("{height:.1}")) {}
                rect.over x=(i * 5) width="5" height="24" { title { (words::clock(from)) " UTC: " (words::count(*n)) } }
            }
        }
    }
}

/// A value beside what was expected.
pub fn range(value: f64, expected: Option<(f64, f64)>, label: &str) -> Markup {
    let (low, high) = expected.unwrap_or((value, value));
    let (least, most) =
        ([low, value, 0.0].into_iter().fold(f64::MAX, f64::min), [high, value].into_iter().fold(f64::MIN, f64::max));
    let width = (most - least).max(1e-9) * 1.06;
    let x = |value: f64| ((value - least) / width * WIDTH).clamp(0.0, WIDTH);
    html! {
        svg.range viewBox=(format!("0 0 {WIDTH} 20")) preserveAspectRatio="none" role="img" aria-label=(label) {
            title { (label) }
            rect.track y="8" width=(WIDTH) height="4" {}
            @if expected.is_some() {
                rect.band x=(format!("{:.1}", x(low))) y="4" width=(format!("{:.1}", (x(high) - x(low)).max(3.0))) height="12" {}
            }
            (mark(x(value).max(5.0), 10.0))
        }
    }
}

/// A share of the whole, 0 to 1.
pub fn share(value: f64, label: &str) -> Markup {
    let width = value.clamp(0.0, 1.0) * 100.0;
    html! {
        svg.share viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=(label) {
            title { (label) }
            rect.track width="100" height="8" {}
            rect.bar width=(format!("{width:.1}")) height="8" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_says_each_value_and_stays_in_its_frame() {
        let point = |i: i64, value, expected, anomalous| Point {
            time_ms: i * 60_000,
            value,
            expected,
            anomalous,
            last_week: None,
        };
        let points = vec![
            point(0, 3.0, Some((2.0, 5.0)), false),
            point(1, 90.0, Some((2.0, 5.0)), true),
            point(2, -4.0, None, false),
        ];
        let chart = Chart {
            title: "Orders <b>".into(),
            metric: "orders".into(),
            dimensions: String::new(),
            points,
            from_ms: 0,
            to_ms: 180_000,
            step_ms: 60_000,
        };
        let svg = line(&chart).into_string();
        assert!(
            svg.contains("00:01 UTC: 90 (usual 2 to 5)") && svg.contains("Orders &lt;b&gt;") && !svg.contains("style=")
        );
        assert_eq!((svg.matches("class=\"mark\"").count(), svg.matches("<rect").count()), (1, 3));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let nothing = Chart { points: vec![], ..chart };
        assert!(line(&nothing).into_string().contains("no data yet") && !nothing.learnt());
        for (value, expected) in
            [(0.0, Some((0.0, 0.0))), (5.0, None), (-3.0, Some((1.0, 2.0))), (1e300, Some((-1e300, 0.0)))]
        {
            assert!(!range(value, expected, "x").into_string().contains("NaN"));
        }
    }
}
