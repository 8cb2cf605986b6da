use std::ops::RangeInclusive;

use super::*;

/// One whose status has been due for so many seconds.
fn due_for(uid: &Arc<str>, seconds: u64) -> Unwritten {
    let then = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
    Unwritten(Mutex::new(HashMap::from([(Arc::clone(uid), then)])))
}

fn seconds(delay: Duration) -> f64 {
    delay.as_secs_f64()
}

#[test]
fn a_status_that_cannot_be_written_is_tried_again_later_and_later_but_within_30_s() {
    let uid = Arc::from("one");
    let cases: [(u64, RangeInclusive<f64>); 5] =
        [(0, 0.8..=1.2), (4, 3.2..=5.0), (20, 16.0..=24.2), (60, 30.0..=30.0), (86_400, 30.0..=30.0)];
    for (lasted, expected) in cases {
        let again = seconds(due_for(&uid, lasted).again(&uid));
        assert!(expected.contains(&again), "after {lasted} s: {again} s");
    }
}

#[test]
fn a_status_that_was_written_since_starts_anew_and_others_do_not() {
    let (one, two) = (Arc::from("one"), Arc::from("two"));
    let unwritten = due_for(&one, 60);
    assert!(seconds(unwritten.again(&two)) <= 1.2, "the other one's trouble is new");
    unwritten.forget("one");
    assert!(seconds(unwritten.again(&one)) <= 1.2);
    assert!(unwritten.0.lock().len() == 2);
}

#[test]
fn nothing_is_kept_of_what_is_written() {
    let uid = Arc::from("one");
    let unwritten = Unwritten::default();
    unwritten.again(&uid);
    unwritten.forget(&uid);
    assert!(unwritten.0.lock().is_empty());
}
