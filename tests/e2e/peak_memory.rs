//! What files of ConfigMaps cost in memory while they are sent: what is on its way, not what there is.

use serde_json::{Value, json};
use test_support::{DEADLINE, file, scenario, state};

use crate::OPERATOR;

/// As large as a `ConfigMap` can be.
const SIZE: usize = 1 << 20;
/// What the design allows the operator at its peak, in bytes.
const PEAK: u64 = 96 << 20;

#[test]
fn four_hundred_files_of_one_large_key_are_sent_in_96_mib() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("large.txt", &"x".repeat(SIZE))]).await?;
        let files: Vec<Value> = (0..100).map(|number| file(&format!("f{number:02}"), "texts", "large.txt")).collect();
        let names = ["one", "two", "three", "four"];
        for name in names {
            world.file_upload(name, json!({"files": files})).await?;
        }
        let ready = async || {
            let uploads = world.list("FileUpload").await?;
            let summaries: Vec<_> = uploads.iter().map(|upload| upload["status"]["summary"].clone()).collect();
            Ok((uploads.iter().all(|upload| state(upload, "Available") == "True"), summaries))
        };
        world.wait_for(DEADLINE * 6, "four hundred keys", ready).await?;
        for name in names {
            let upload = world.read("FileUpload", name).await?;
            assert_eq!(world.stored_keys(&upload)?.len(), 100);
        }
        let peak = world.operator().await?.peak_memory()?;
        assert!(peak <= PEAK, "{} MiB at its peak", peak >> 20);
        Ok(())
    });
}
