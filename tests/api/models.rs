//! Promoting and rolling back: control records, and nothing that does not load.

use crate::records::log;
use pulse::app::active;
use pulse::app::models::Models;
use pulse::engine::objects::Objects;
use pulse::engine::registry::{Registry as Bundles, SHIPPED_VERSION};
use pulse::sidecar::{Registry, RegistryRefusal};
use pulse_dataflows::ports::{EventLog, Topic, partition};

#[test]
fn what_loads_is_promoted_and_rolled_back() {
    let (dir, log) = (tempfile::tempdir().unwrap(), log());
    let objects = Objects::folder(dir.path()).unwrap();
    let bundles = Bundles::new(objects.clone());
    let models = Models::new(bundles.clone(), log.clone());
    let controls = || log.end(partition(Topic::Control, 0));
    let in_force = || -> Vec<String> {
        let list = models.list().unwrap().into_iter().filter(|item| item["in_force"] == true);
        list.map(|item| item["version"].as_str().unwrap().to_owned()).collect()
    };
    assert!(matches!(models.rollback(), Err(RegistryRefusal::Conflict(_))));
    assert!(matches!(models.promote("global_model@v1"), Err(RegistryRefusal::Unknown(_))));
    objects.put("models/global_model-v9.bundle", b"damaged".to_vec()).unwrap();
    assert!(matches!(models.promote("global_model@v9"), Err(RegistryRefusal::Conflict(_))));
    assert_eq!(controls(), 0, "what does not load never gets into the log");
    assert_eq!(in_force(), [SHIPPED_VERSION]);

    let mut bundle = (*bundles.get(SHIPPED_VERSION).unwrap().1).clone();
    bundle.version = "global_model@v1".into();
    let checksum = bundles.add(&bundle).unwrap();
    let answer = models.promote("global_model@v1").unwrap();
    assert_eq!((&answer["version"], &answer["before"]), (&"global_model@v1".into(), &SHIPPED_VERSION.into()));
    assert_eq!(active(&*log).unwrap().model, Some(("global_model@v1".into(), checksum)));
    models.promote("global_model@v1").unwrap();
    assert_eq!(in_force(), ["global_model@v1"]);
    assert_eq!(models.rollback().unwrap()["version"], SHIPPED_VERSION);
    assert_eq!((in_force(), controls()), (vec![SHIPPED_VERSION.to_owned()], 3));
    let (card, damaged) = (models.show("global_model@v1").unwrap().unwrap(), models.show("global_model@v9").unwrap());
    assert!(card["groups"].is_array() && card["in_force"] == false && damaged.unwrap()["error"].is_string());
    assert_eq!(models.show("global_model@v2").unwrap(), None);
}
