//! Who gets in, and which forms count: over plain HTTP, as an attacker would ask.

use crate::world::{Jar, PASSWORD, Program, pulse, token};
use std::time::{Duration, Instant};

/// The pages and what they need.
const PAGES: [&str; 9] =
    ["/", "/start", "/alerts", "/sources", "/models", "/destinations", "/settings", "/health", "/alerts/x"];
const FORMS: [(&str, &str); 9] = [
    ("/start/key", "admin"),
    ("/alerts/verdict", "analyst"),
    ("/alerts/x/ack", "analyst"),
    ("/incidents/x/verdict", "analyst"),
    ("/incidents/x/ack", "analyst"),
    ("/models/rollback", "admin"),
    ("/models/global_model@v0/promote", "admin"),
    ("/destinations/x/test", "admin"),
    ("/destinations/x/rotate", "admin"),
];

/// Who looked at pages that show persons is in the access log, under their own name.
#[tokio::test]
async fn looks_at_persons_are_noted_under_a_name() {
    let program = Program::start("").await;
    let mut jar = Jar::sign_in(&program, "vera").await;
    for page in ["/", "/alerts?status=all", "/alerts/x", "/models", "/health"] {
        jar.get(&program, page).await;
    }
    let found = program.until("access-log?who=vera", |log| log["items"].as_array().is_some_and(|i| i.len() >= 2)).await;
    let mut paths: Vec<&str> = found["items"].as_array().unwrap().iter().filter_map(|i| i["path"].as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/", "/alerts"], "{found}");
    assert!(found["items"].as_array().unwrap().iter().all(|item| item["who"] == "vera"), "{found}");
}

#[tokio::test]
async fn nobody_sees_a_page_without_signing_in_and_links_come_back() {
    let program = Program::start("").await;
    let mut jar = Jar::default();
    for page in PAGES {
        let seen = jar.get(&program, page).await;
        assert_eq!(seen.status, 303, "{page}");
        assert!(seen.location.starts_with("/sign-in?to=%2F"), "{page}: {}", seen.location);
    }
    for (form, _) in FORMS {
        let seen = jar.post_raw(&program, form, "token=x", "same-origin").await;
        assert_eq!((seen.status, seen.location.as_str()), (303, "/sign-in?to=%2F"), "{form}");
    }
    let to = "/alerts?status=all&type=order.completed";
    let asked = jar.get(&program, to).await.location;
    let seen = jar.post(&program, &asked, "/sign-in", &[("to", to), ("name", "vera"), ("password", PASSWORD)]).await;
    assert_eq!((seen.status, seen.location.as_str()), (303, to));
    assert_eq!(jar.get(&program, to).await.status, 200);
    assert_eq!(jar.get(&program, "/alerts/none").await.status, 404);
    assert_eq!(jar.get(&program, "/nowhere").await.status, 404);
    // a link in a chat comes without the strict cookie: the browser is asked to come again from here
    let request = program.http.get(format!("{}/alerts/x", program.url())).header("sec-fetch-site", "cross-site");
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(text.contains("http-equiv=\"refresh\" content=\"0;url=/alerts/x\""), "{text}");
}

#[tokio::test]
async fn the_cookie_is_a_session_and_nothing_else() {
    let program = Program::start("").await;
    let mut jar = Jar::sign_in(&program, "anna").await;
    let mut again = Jar::default();
    let seen = again.post(&program, "/sign-in", "/sign-in", &[("key", &program.key)]).await;
    assert_eq!(seen.status, 303);
    for cookie in &seen.cookies {
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
        assert!(!cookie.contains(&program.key) && !cookie.contains("pulse_key"), "{cookie}");
    }
    assert_ne!(again.value("pulse_session"), jar.value("pulse_session"));
    let store = std::fs::read(program.store()).unwrap();
    let wal = std::fs::read(program.store().with_extension("db-wal")).unwrap_or_default();
    for secret in [jar.value("pulse_session"), again.value("pulse_session"), PASSWORD] {
        let found = |bytes: &[u8]| bytes.windows(secret.len()).any(|at| at == secret.as_bytes());
        assert!(!found(&store) && !found(&wal), "the store holds what opens a page");
    }
    // behind a proxy that speaks TLS the cookie stays there
    let page = Jar::default().get(&program, "/sign-in").await;
    let request = program.http.get(format!("{}/sign-in", program.url())).header("x-forwarded-proto", "https");
    let secure = request.send().await.unwrap().headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(secure.ends_with("; Secure") && !page.cookies[0].contains("Secure"), "{secure}");
    // the API does not know it
    let cookie = format!("pulse_session={}", jar.value("pulse_session"));
    let api = program.http.get(format!("{}/api/v1/alerts", program.url())).header("cookie", cookie).send().await;
    assert_eq!(api.unwrap().status(), 401);
    // it ends with the sign-out, here and for whoever has copied it
    let mut copied = jar.clone();
    assert_eq!(copied.get(&program, "/").await.status, 200);
    assert_eq!(jar.post(&program, "/", "/sign-out", &[]).await.location, "/sign-in");
    assert_eq!(copied.get(&program, "/").await.status, 303, "the session is over");
}

#[tokio::test]
async fn a_change_of_the_account_or_the_key_ends_its_sessions() {
    let program = Program::start("").await;
    let (mut anna, mut ada) = (Jar::sign_in(&program, "anna").await, Jar::sign_in(&program, "ada").await);
    let mut keyed = Jar::default();
    assert_eq!(keyed.post(&program, "/sign-in", "/sign-in", &[("key", &program.key)]).await.status, 303);
    for jar in [&mut anna, &mut ada, &mut keyed] {
        assert_eq!(jar.get(&program, "/health").await.status, 200);
    }
    pulse(&["users", "role", "anna", "viewer"], &program.data(), "");
    let made = pulse(&["users", "password", "ada"], &program.data(), "");
    let prefix = program.key.split('_').nth(1).unwrap();
    pulse(&["keys", "revoke", prefix], &program.data(), "");
    let began = Instant::now();
    for jar in [&mut anna, &mut ada, &mut keyed] {
        while jar.get(&program, "/health").await.status != 303 {
            assert!(began.elapsed() < Duration::from_secs(5), "still in");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let seen = ada.post(&program, "/sign-in", "/sign-in", &[("name", "ada"), ("password", PASSWORD)]).await;
    assert_eq!(seen.status, 401, "the old password");
    assert_eq!(ada.post(&program, "/sign-in", "/sign-in", &[("name", "ada"), ("password", &made)]).await.status, 303);
    pulse(&["users", "remove", "ada"], &program.data(), "");
    let listed = pulse(&["users", "list", "--json"], &program.data(), "");
    assert!(listed.contains("anna") && !listed.contains("\"ada\"") && !listed.contains("argon2"), "{listed}");
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_learns_nothing() {
    let program = Program::start("").await;
    let mut jar = Jar::default();
    let wrong = |name: &'static str| [("name", name), ("password", "not the password")];
    let unknown = jar.post(&program, "/sign-in", "/sign-in", &wrong("nobody")).await;
    let known = jar.post(&program, "/sign-in", "/sign-in", &wrong("anna")).await;
    assert_eq!((unknown.status, known.status), (401, 401));
    let said = "Name or password are wrong.";
    assert!(unknown.text.contains(said) && known.text.contains(said));
    assert!(
        !jar.post(&program, "/sign-in", "/sign-in", &[("key", "x\r\nSet-Cookie: a=b")]).await.headers.contains_key("a")
    );
    let mut refused = None;
    for _ in 0..12 {
        let seen = jar.post(&program, "/sign-in", "/sign-in", &wrong("ada")).await;
        if seen.status == 429 {
            refused = Some(seen);
            break;
        }
    }
    let refused = refused.expect("at the eleventh attempt at the latest");
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 601);
    let good = jar.post(&program, "/sign-in", "/sign-in", &[("name", "ada"), ("password", PASSWORD)]).await;
    assert_eq!(good.status, 429, "the right password has to wait too");
}

#[tokio::test]
async fn forms_of_others_are_refused() {
    let program = Program::start("").await;
    program.fill(1).await;
    let alert = program.api("alerts?limit=1").await["items"][0]["alert_id"].as_str().unwrap().to_owned();
    let (mut anna, mut ada) = (Jar::sign_in(&program, "anna").await, Jar::sign_in(&program, "ada").await);
    let (hers, other) = (token(&anna.get(&program, "/").await.text), token(&ada.get(&program, "/").await.text));
    assert_ne!(hers, other);
    let body = |token: &str| format!("id={alert}&verdict=true_positive&back=/alerts&token={token}");
    for (token, site) in [
        ("", "same-origin"),
        ("x", "same-origin"),
        (&*other, "same-origin"),
        (&*hers, "cross-site"),
        (&*hers, "same-site"),
    ] {
        let seen = anna.post_raw(&program, "/alerts/verdict", &body(token), site).await;
        assert_eq!(seen.status, 403, "{token} {site}: {}", seen.text);
        assert!(seen.text.contains("Form refused"));
    }
    let json = program
        .http
        .post(format!("{}/alerts/verdict", program.url()))
        .body(body(&hers))
        .header("content-type", "text/plain");
    let json = json.header("cookie", format!("pulse_session={}", anna.value("pulse_session"))).send().await.unwrap();
    assert_eq!(json.status(), 415);
    assert_eq!(program.api(&format!("alerts/{alert}")).await["verdicts"], serde_json::json!([]));
    // the sign-in form too: nobody is signed in to somebody else's account
    let mut jar = Jar::default();
    let form = format!("name=anna&password={}&token={hers}", PASSWORD.replace(' ', "+"));
    assert_eq!(jar.post_raw(&program, "/sign-in", &form, "same-origin").await.status, 403);
    let seen = anna.post_raw(&program, "/alerts/verdict", &body(&hers), "same-origin").await;
    assert_eq!((seen.status, seen.location.as_str()), (303, "/alerts"));
    let verdicts = program.until(&format!("alerts/{alert}"), |found| found["verdicts"] != serde_json::json!([])).await;
    assert_eq!(
        (verdicts["verdicts"][0]["by"].as_str(), verdicts["verdicts"][0]["verdict"].as_str()),
        (Some("anna"), Some("true_positive"))
    );
}

#[tokio::test]
async fn each_form_needs_its_role() {
    let program = Program::start("").await;
    program.fill(1).await;
    let rank = |role: &str| ["viewer", "analyst", "admin"].iter().position(|name| *name == role).unwrap();
    for (name, role) in [("vera", "viewer"), ("anna", "analyst"), ("ada", "admin")] {
        let mut jar = Jar::sign_in(&program, name).await;
        for page in &PAGES[..8] {
            assert_eq!(jar.get(&program, page).await.status, 200, "{page}");
        }
        let token = token(&jar.get(&program, "/").await.text);
        for (form, need) in FORMS {
            let seen = jar.post_raw(&program, form, &format!("token={token}&verdict=expected"), "same-origin").await;
            assert_eq!(seen.status == 403, rank(role) < rank(need), "{name} {form}: {}", seen.status);
        }
    }
    let mut vera = Jar::sign_in(&program, "vera").await;
    for page in ["/alerts", "/settings"] {
        let text = vera.get(&program, page).await.text;
        assert!(
            !text.contains("name=\"verdict\"") && !text.contains(&program.key.split('_').nth(1).unwrap()[..8]),
            "{page}"
        );
    }
}

#[tokio::test]
async fn pages_are_guarded_by_their_headers_and_escape_what_events_say() {
    let program = Program::start("").await;
    program.fill(1).await;
    let mut bad = crate::world::order("o-<b>x</b>", "<script>alert(1)</script>", 4711.0);
    bad["items"][0]["category"] = "\"><svg onload=alert(1)>".into();
    bad["source"] = "=cmd()|'<i>'".into();
    program.send(&[bad]).await;
    program.until("alerts?limit=2", |found| found["items"].as_array().unwrap().len() == 2).await;
    let mut ada = Jar::sign_in(&program, "ada").await;
    let alerts = program.api("alerts?limit=2").await;
    let ids: Vec<String> = alerts["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("/alerts/{}", one["alert_id"].as_str().unwrap()))
        .collect();
    for page in
        PAGES[..8].iter().copied().chain(ids.iter().map(String::as_str)).chain(["/sign-in", "/nowhere-for-people"])
    {
        let seen = ada.get(&program, page).await;
        let header = |name: &str| seen.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        if page != "/nowhere-for-people" {
            let policy = header("content-security-policy");
            assert!(
                policy.starts_with("default-src 'none'")
                    && policy.contains("frame-ancestors 'none'")
                    && !policy.contains("unsafe"),
                "{page}: {policy}"
            );
            assert_eq!(
                (header("x-frame-options").as_str(), header("x-content-type-options").as_str()),
                ("DENY", "nosniff"),
                "{page}"
            );
            assert_eq!(
                (header("cache-control").as_str(), header("cross-origin-opener-policy").as_str()),
                ("no-store", "same-origin"),
                "{page}"
            );
        }
        for raw in ["<script>alert", "<img src=x", "<svg onload", "<b>x</b>", "<i>", "style=\"", "onclick", "<style"] {
            assert!(!seen.text.contains(raw), "{page}: {raw}");
        }
    }
    assert!(ada.get(&program, "/sources").await.text.contains("=cmd()|'&lt;i&gt;'"));
}

#[tokio::test]
async fn a_trusted_proxy_names_people_and_nobody_else_can() {
    let more = "[sidecar]\ntrusted_user_header = \"X-Forwarded-User\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n";
    let (trusted, plain) = (Program::start(more).await, Program::start("").await);
    let asked = |program: &Program, name: &str| {
        program.http.get(format!("{}/settings", program.url())).header("x-forwarded-user", name).send()
    };
    let text = |name: &'static str| async { asked(&trusted, name).await.unwrap().text().await.unwrap() };
    assert!(text("ada").await.contains("ada · admin") && text("stranger").await.contains("stranger · viewer"));
    for (program, name) in [(&trusted, "<b>"), (&trusted, ""), (&plain, "ada")] {
        assert_eq!(asked(program, name).await.unwrap().status(), 303, "{name}");
    }
    let twice = trusted
        .http
        .get(format!("{}/settings", trusted.url()))
        .header("x-forwarded-user", "ada")
        .header("x-forwarded-user", "vera");
    assert_eq!(twice.send().await.unwrap().status(), 303, "two names are none");
    let config = std::process::Command::new(env!("CARGO_BIN_EXE_pulse"))
        .args(["config", "check"])
        .env("PULSE__SIDECAR__TRUSTED_USER_HEADER", "X-User")
        .output()
        .unwrap();
    assert_eq!(config.status.code(), Some(78), "a header that everybody can write");
}
