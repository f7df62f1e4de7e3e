//! Who looked at what: noted for persons' data, told to admins only.

use crate::world::*;

#[test]
fn who_looked_at_what_is_told_to_admins_and_survives_a_restart() {
    let mut world = World::new("");
    world.words = vec!["--once"];
    let key = |scope: &str, name: &str| {
        let mut create = command(&["keys", "create", "--scope", scope, "--name", name, "--data"]);
        String::from_utf8(create.arg(world.data()).output().unwrap().stdout).unwrap().trim().to_owned()
    };
    let (admin, anna, shop) = (key("admin", "chief"), key("read", "anna"), key("ingest", "shop"));
    world.run();
    let with = |key: &str| vec!["-H".to_owned(), format!("authorization: Bearer {key}")];
    world.curl = with(&shop);
    world.send(&[order("o-1", "c-42", 20.0)]);
    world.curl = with(&anna);
    world.scored("o-1");
    for path in ["/api/v1/events?entity=customer:c-42", "/api/v1/events?entity=customer:c-42", "/api/v1/models"] {
        assert_eq!(world.get(path).0, 200, "{path}");
    }
    assert_eq!(world.get("/api/v1/events/none").0, 404);
    assert_eq!(world.get("/api/v1/access-log").0, 403, "admins only");
    world.curl = with(&admin);
    let look = until("what anna looked at", || {
        let log = world.get("/api/v1/access-log?who=anna&entity=customer:c-42").1;
        let look = log["items"].get(0)?.clone();
        (look["looks"] == 2).then_some(look)
    });
    assert_eq!(look["path"], "/api/v1/events");
    assert!(look["who"].as_str().unwrap().starts_with("anna ("), "{look}");
    let prefix = anna.split('_').nth(1).unwrap();
    assert!(look["who"].as_str().unwrap().contains(prefix) && !look.to_string().contains(&anna));
    let all = world.get("/api/v1/access-log?who=anna").1.to_string();
    assert!(all.contains("/api/v1/events/o-1") && !all.contains("models") && !all.contains("none"), "{all}");
    assert_eq!(world.stop(), 0);
    world.run();
    let again = world.get("/api/v1/access-log").1.to_string();
    assert!(again.contains("anna (") && again.contains("chief ("), "{again}");
}
