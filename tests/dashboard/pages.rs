//! Pages in a browser: what they say is what the API says, keys and forms do what they should, everybody can read them.

use crate::browser::Browser;
use crate::world::{PASSWORD, Program, order};
use serde_json::{Value, json};

const PAGES: [&str; 8] =
    ["/", "/start", "/alerts?status=all", "/sources", "/models", "/destinations", "/settings", "/health"];
/// Bytes that a page weighs at most, with its style and script.
const WEIGHT: u64 = 150_000;

/// What every scenario is told.
fn given(program: &Program, user: &str) -> Value {
    json!({"url": program.url(), "user": user, "password": PASSWORD, "pictures": std::env::var("PULSE_PICTURES").ok()})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_can_read_every_page_in_light_and_dark_at_any_width() {
    let program = Program::start("").await;
    let id = program.destination().await;
    program.fill(12).await;
    let alert = program.api("alerts?limit=1").await["items"][0]["alert_id"].as_str().unwrap().to_owned();
    let mut pages: Vec<String> = PAGES.map(String::from).to_vec();
    pages.extend([format!("/alerts/{alert}"), format!("/destinations/{id}")]);
    let mut what = given(&program, "ada");
    what["pages"] = json!(pages);
    let mut browser = Browser::start("tour", &what);
    for _ in 0..2 * (1 + pages.len() * 4) {
        let seen = browser.seen();
        if seen["violations"].is_array() {
            assert_eq!(seen["violations"], json!([]), "{} {} {}", seen["page"], seen["scheme"], seen["width"]);
            continue;
        }
        assert_eq!((&seen["status"], &seen["scroll"], &seen["open"]), (&json!(200), &json!(0), &json!(0)), "{seen}");
        assert!(seen["bytes"].as_u64().unwrap() < WEIGHT, "{seen}");
        if seen["scheme"] == "light" && seen["width"] == 1280 {
            println!("{} weighs {} bytes", seen["path"], seen["bytes"]);
        }
    }
    browser.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_on_a_page_is_what_the_api_says() {
    let program = Program::start("").await;
    let id = program.destination().await;
    program.fill(3).await;
    program.until("webhooks", |found| found["items"][0]["messages"]["delivered"].as_u64() >= Some(3)).await;
    let mut browser = Browser::start("values", &given(&program, "vera"));
    let seen = browser.seen();
    let charts = seen["charts"].as_array().unwrap();
    assert_eq!(charts.len(), 4);
    for chart in charts {
        let text = |name: &str| chart[name].as_str().unwrap();
        let path =
            format!("series?metric={}&from={}&to={}&step={}m", text("metric"), text("from"), text("to"), text("step"));
        let api = program.api(&path).await;
        let points: Vec<(Value, Value)> =
            api["items"].as_array().unwrap().iter().map(|one| (one["time"].clone(), one["value"].clone())).collect();
        let shown: Vec<(Value, Value)> = chart["points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one[0].clone(), json!(one[1].as_f64().unwrap())))
            .collect();
        // minutes may close between the two questions
        assert!(points.starts_with(&shown) || shown.iter().zip(&points).all(|(a, b)| a == b), "{chart} {api}");
    }
    let figures = program.api("kpis?from=0").await;
    assert_eq!(seen["figures"]["alerts"], figures["figures"]["alerts"].to_string());
    assert_eq!(seen["figures"]["events"], figures["figures"]["events"].to_string());
    let open = figures["figures"]["open_alerts"].as_u64().unwrap();
    assert!(open >= 3 && seen["state"].as_str().unwrap().starts_with(&format!("{open} alerts")), "{}", seen["state"]);

    let alerts = program.api("alerts").await;
    let wanted: Vec<Value> = alerts["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!([one["alert_id"], one["event"]["reasons"][0]["text"]]))
        .collect();
    assert_eq!(browser.seen()["alerts"], json!(wanted));
    let one = browser.seen();
    let api = program.api(&format!("alerts/{}", one["record"]["alert_id"].as_str().unwrap())).await;
    assert_eq!(one["record"], api);
    assert_eq!(one["sentence"], api["event"]["reasons"][0]["text"]);
    let codes: Vec<&Value> = api["event"]["reasons"].as_array().unwrap().iter().map(|reason| &reason["code"]).collect();
    assert_eq!(one["reasons"], json!(codes));
    assert_eq!(browser.seen()["sources"], json!([["shop", figures["figures"]["events"]]]));
    let models = program.api("models").await;
    let versions: Vec<&Value> = models["items"].as_array().unwrap().iter().map(|one| &one["version"]).collect();
    assert_eq!(browser.seen()["models"], json!(versions));
    let delivered = program.api("webhooks").await["items"][0]["messages"]["delivered"].to_string();
    assert_eq!(browser.seen()["destinations"], json!([[id, delivered]]));
    browser.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_judge_and_the_label_changes() {
    let program = Program::start("").await;
    program.fill(6).await;
    let mut browser = Browser::start("keys", &given(&program, "anna"));
    let verdict = async |id: &Value, word: &str| {
        let path = format!("alerts/{}", id.as_str().unwrap());
        let found = program.until(&path, |found| found["verdicts"][0]["verdict"] == word).await;
        assert_eq!(found["verdicts"][0]["by"], "anna");
    };
    let seen = browser.seen();
    verdict(&seen["trouble"], "true_positive").await;
    verdict(&seen["false_alarm"], "false_positive").await;
    for id in browser.seen()["expected"].as_array().unwrap() {
        verdict(id, "expected").await;
    }
    browser.seen();
    program.send(&[order("odd-late", "c-late", 4711.0)]).await;
    browser.go_on();
    assert_eq!(browser.seen()["live"], true);
    browser.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_script_everything_works() {
    let program = Program::start("").await;
    program.fill(2).await;
    let mut browser = Browser::start("plain", &given(&program, "anna"));
    let seen = browser.seen();
    let api = program.api(&format!("alerts/{}", seen["id"].as_str().unwrap())).await;
    assert_eq!(
        (&api["verdicts"][0]["verdict"], &api["verdicts"][0]["reason"]),
        (&json!("false_positive"), &json!("a gift card"))
    );
    assert!(
        seen["said"].as_str().unwrap().contains("false alarm")
            && seen["taken"].as_str().unwrap().contains("Taken on by anna")
    );
    assert_eq!(api["acked_by"], "anna");
    assert_eq!(browser.seen()["after"], "/sign-in");
    browser.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_a_viewer_gives_no_verdict() {
    let program = Program::start("").await;
    program.fill(1).await;
    let mut browser = Browser::start("viewer", &given(&program, "vera"));
    let seen = browser.seen();
    assert_eq!(
        (&seen["wrong"], &seen["buttons"], &seen["forced"]),
        (&json!("Name or password are wrong."), &json!(0), &json!(403))
    );
    let api = program.api(&format!("alerts/{}", seen["id"].as_str().unwrap())).await;
    assert_eq!(api["verdicts"], json!([]));
    browser.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_is_tested_and_gets_a_new_secret() {
    let program = Program::start("").await;
    let id = program.destination().await;
    let mut what = given(&program, "ada");
    what["id"] = json!(id);
    let mut browser = Browser::start("destination", &what);
    let seen = browser.seen();
    let attempts = program.api(&format!("webhooks/{id}/attempts")).await;
    let ids: Vec<&Value> = attempts["items"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!((&seen["attempts"], &seen["shown"]), (&json!(ids), &json!(false)));
    assert_eq!(seen["outcome"], attempts["items"][0]["outcome"]);
    assert!(seen["secret"].as_str().unwrap().starts_with("whsec_"));
    browser.end();
}
