//! The harness of the tests in a real Kubernetes.
//!
//! [`scenario()`] gives a test a [`World`]: a namespace of its own, a double of Cyberun, and the operator: where a
//! node runs as a pod of the image under test, otherwise as a process, either way as the chart has it. Everything is told by condition and deadline; a failure shows what the cluster, the
//! operator and the double had to say. Never depends on the crate under test, whose types could be wrong with it.
//!
//! ```no_run
//! use serde_json::json;
//! test_support::scenario("target/debug/fileupload", async |world| {
//!     world.operator().await?;
//!     world.credential().await?;
//!     world.config_map("prompts", &[("prompt.txt", "hello")]).await?;
//!     world.file_upload("one", json!({"files": [test_support::file("prompt", "prompts", "prompt.txt")]})).await?;
//!     world.available("one").await?;
//!     Ok(())
//! });
//! ```

mod alone;
mod audit;
mod bounds;
mod cluster;
mod disk;
mod evidence;
mod folders;
mod grants;
mod history;
mod http;
mod image;
mod kept;
mod mutation;
mod nodes;
mod objects;
mod operator;
mod person;
mod pod_logs;
mod pods;
mod policy;
mod promptly;
mod scenario;
mod setups;
mod space;
mod status;
mod untried;
mod view;
mod volumes;
mod webhook;
mod wire;
mod workers;
mod world;

pub use alone::ApiServer;
pub use audit::Request;
pub use cluster::{Cluster, RELEASE, SYSTEM, helm, kubectl, nodes};
pub use disk::Disk;
pub use folders::rendered;
pub use history::History;
pub use kept::Kept;
pub use objects::{DEADLINE, PATIENCE, file};
pub use operator::Operator;
pub use operator::process::Process;
pub use person::{Person, Said, ended};
pub use promptly::prompt;
pub use rustix::process::Signal;
pub use scenario::{scenario, scenario_alone, scenario_with, with_pods, with_pods_and};
pub use setups::{FOUR_TEXTS, texts, three_files, two_files, with_output};
pub use space::Space;
pub use untried::not_tried;
pub use view::{condition, files, key_of, message, reason, sha256, state, tells};
pub use volumes::{age, on_claim, write};
pub use webhook::HangingWebhook;
pub use wire::Wire;
pub use workers::once;
pub use world::World;
