//! Which of several candidates holds the Lease: single steps, and longer stories on a virtual clock.

use super::*;

const START: &str = "2026-11-23T10:00:00Z";

/// Keeps a Lease as the API server does: it refuses a write that is based on an older version.
#[derive(Default)]
struct Server {
    lease: Option<Object>,
    version: u64,
}

impl Server {
    fn write(&mut self, mut lease: Object) -> bool {
        let version = self.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if lease.metadata.resource_version != version {
            return false;
        }
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease);
        true
    }

    fn holder(&self) -> Option<&str> {
        self.lease.as_ref()?.spec.as_ref()?.holder_identity.as_deref()
    }
}

/// The same moment of both clocks.
fn at(begun: Instant, seconds: u64) -> (Instant, Timestamp) {
    let span = Duration::from_secs(seconds);
    (begun + span, START.parse::<Timestamp>().unwrap() + span)
}

fn turn(candidate: &mut Candidate, server: &mut Server, now: (Instant, Timestamp)) -> Step {
    let step = candidate.step(server.lease.clone(), now);
    if let Step::Write(lease) = &step
        && server.write((**lease).clone())
    {
        candidate.wrote(now.0);
    }
    step
}

fn held(holder: &str, seconds: Option<i32>) -> Object {
    let spec = LeaseSpec {
        holder_identity: Some(holder.to_owned()).filter(|holder| !holder.is_empty()),
        lease_duration_seconds: seconds,
        renew_time: Some(MicroTime(START.parse().unwrap())),
        ..LeaseSpec::default()
    };
    Object { spec: Some(spec), ..Object::default() }
}

#[test]
fn what_is_done_about_a_lease() {
    let begun = Instant::now();
    for (what, lease, seconds, writes) in [
        ("there is none", None, 0, true),
        ("nobody has it", Some(held("", Some(15))), 0, true),
        ("it has no spec", Some(Object::default()), 0, true),
        ("it is mine", Some(held("me", Some(15))), 0, true),
        ("another has it", Some(held("other", Some(15))), 0, false),
        ("another has not renewed it for 14 s", Some(held("other", Some(15))), 14, false),
        ("another has not renewed it for 15 s", Some(held("other", Some(15))), 15, true),
        ("it says that it lasts for no time", Some(held("other", Some(0))), 14, false),
        ("it says that it lasts for less than no time", Some(held("other", Some(-5))), 14, false),
        ("it says that it lasts for a year", Some(held("other", Some(31_536_000))), 59, false),
        ("it has said so for a minute", Some(held("other", Some(31_536_000))), 60, true),
        ("it does not say how long it lasts", Some(held("other", None)), 15, true),
    ] {
        let mut candidate = Candidate::new("me");
        candidate.step(lease.clone(), at(begun, 0));
        let step = candidate.step(lease, at(begun, seconds));
        assert_eq!(matches!(step, Step::Write(_)), writes, "{what}");
        let Step::Write(lease) = step else { continue };
        let spec = lease.spec.unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some("me"), Some(15)), "{what}");
        assert_eq!(spec.renew_time.unwrap().0, at(begun, seconds).1, "{what}");
        assert!(!candidate.leads(), "not before it is written: {what}");
    }
}

#[test]
fn of_two_that_begin_together_one_works_until_it_dies_and_then_the_other_within_the_time_of_a_lease() {
    let (begun, mut server) = (Instant::now(), Server::default());
    let (mut one, mut other) = (Candidate::new("one"), Candidate::new("other"));
    // Both have looked before either writes.
    let steps = [&mut one, &mut other].map(|candidate| candidate.step(None, at(begun, 0)));
    let written = steps.map(|step| matches!(&step, Step::Write(lease) if server.write((**lease).clone())));
    assert_eq!((written, server.holder()), ([true, false], Some("one")));
    one.wrote(begun);
    for seconds in (2..40).step_by(2) {
        let now = at(begun, seconds);
        turn(&mut one, &mut server, now);
        assert_eq!(turn(&mut other, &mut server, now), Step::Wait);
        assert_eq!((one.ends().unwrap() > now.0, other.leads()), (true, false));
    }
    // The last renewal was at 38 s.
    let takes_over = (40..).step_by(2).find(|seconds| {
        turn(&mut other, &mut server, at(begun, *seconds));
        other.leads()
    });
    assert_eq!((takes_over, server.holder()), (Some(54), Some("other")));
    assert!(one.ends().unwrap() + Duration::from_secs(4) < at(begun, 54).0, "the first has ended by then");
    assert_eq!(turn(&mut one, &mut server, at(begun, 55)), Step::Wait);
    assert_eq!(server.lease.unwrap().spec.unwrap().lease_transitions, Some(2));
}

#[test]
fn one_that_is_given_up_is_taken_at_the_next_look() {
    let (begun, mut server) = (Instant::now(), Server::default());
    let (mut one, mut other) = (Candidate::new("one"), Candidate::new("other"));
    turn(&mut one, &mut server, at(begun, 0));
    turn(&mut other, &mut server, at(begun, 1));
    server.lease.as_mut().unwrap().spec.as_mut().unwrap().holder_identity = None;
    turn(&mut other, &mut server, at(begun, 3));
    assert!(other.leads());
}

#[test]
fn a_label_is_no_sign_of_life() {
    let (begun, mut server) = (Instant::now(), Server::default());
    turn(&mut Candidate::new("dead"), &mut server, at(begun, 0));
    let mut other = Candidate::new("other");
    for seconds in 1..=15 {
        assert_eq!(turn(&mut other, &mut server, at(begun, seconds)), Step::Wait);
        let mut lease = server.lease.clone().unwrap();
        lease.metadata.labels = Some([("touched".to_owned(), seconds.to_string())].into());
        assert!(server.write(lease));
    }
    turn(&mut other, &mut server, at(begun, 16));
    assert!(other.leads());
}

#[test]
fn the_lease_belongs_to_the_account_of_an_operator_in_its_namespace() {
    let user = |name: &str| UserInfo { username: Some(name.into()), uid: Some("7".into()), ..UserInfo::default() };
    let owner = account("uploads", &user("system:serviceaccount:uploads:operator")).unwrap();
    assert_eq!((&*owner.kind, &*owner.name, &*owner.uid), ("ServiceAccount", "operator", "7"));
    for other in ["system:serviceaccount:uploads-2:operator", "system:serviceaccount:other:operator", "admin"] {
        assert_eq!(account("uploads", &user(other)), None, "{other}");
    }
}
