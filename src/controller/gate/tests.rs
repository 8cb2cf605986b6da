use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;

const TEAMS: usize = 100;
const QUEUE: usize = 20;
const NEWCOMER: &str = "newcomer";
const WORK: Duration = Duration::from_millis(100);

/// The place, if it is given at once.
fn now(gate: &Gate, namespace: &str) -> Option<Place> {
    tokio::task::unconstrained(gate.enter(namespace)).now_or_never()
}

/// So many places at once.
fn some(gate: &Gate, namespace: &str, number: usize) -> Vec<Place> {
    (0..number).map(|_| now(gate, namespace).unwrap()).collect()
}

/// A task that waits for a place, and has begun to.
async fn waiter(gate: &Gate, namespace: &'static str) -> JoinHandle<Place> {
    let gate = gate.clone();
    let task = tokio::spawn(async move { gate.enter(namespace).await });
    tokio::task::yield_now().await;
    task
}

fn lanes(gate: &Gate) -> usize {
    gate.0.books.lock().lanes.len()
}

/// Where nothing is out, everything can be given again, and nothing is remembered.
fn assert_untouched(gate: &Gate, process: usize) {
    assert_eq!((gate.waiting(), gate.taken(), gate.kept(), lanes(gate)), (0, 0, 0, 0));
    assert_eq!((gate.0.process.available_permits(), gate.0.books.lock().debt), (process, 0));
}

/// Beside 100 namespaces with long queues comes one that had nothing waiting: who is served before it, and how long it
/// waits.
async fn served_before_a_newcomer<P, F>(enter: impl Fn(String) -> F) -> (Vec<String>, Duration)
where
    P: Send + 'static,
    F: Future<Output = P> + Send + 'static,
{
    let served = Arc::new(Mutex::new(Vec::new()));
    let serve = |team: String| {
        let (place, served) = (enter(team.clone()), Arc::clone(&served));
        tokio::spawn(async move {
            let _place = place.await;
            served.lock().push(team);
            // The clock is virtual: this is how long the work takes.
            sleep(WORK).await;
        })
    };
    (0..TEAMS * QUEUE).for_each(|work| drop(serve(format!("team-{}", work / QUEUE))));
    // In the middle of the third round, on the virtual clock.
    sleep(WORK * 5 / 2).await;
    let (begun, before) = (Instant::now(), served.lock().len());
    serve(NEWCOMER.to_owned()).await.unwrap();
    let waited = begun.elapsed().saturating_sub(WORK);
    let mut served = served.lock().split_off(before);
    served.truncate(served.iter().position(|team| team == NEWCOMER).unwrap());
    (served, waited)
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_had_nothing_waiting_stands_behind_one_of_each_other() {
    let gate = Gate::new(4, 16);
    let (served, waited) = served_before_a_newcomer(|team| {
        let gate = gate.clone();
        async move { gate.enter(&team).await }
    })
    .await;
    let mut each = BTreeMap::<_, usize>::new();
    for team in served {
        *each.entry(team).or_default() += 1;
    }
    assert!(each.values().all(|number| *number == 1), "{each:?}");
    assert!(waited <= Duration::from_secs(2), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_newcomer_waits_for_all_where_places_are_not_given_fairly() {
    let plain = Arc::new(Semaphore::new(16));
    let (served, waited) = served_before_a_newcomer(|_| Arc::clone(&plain).acquire_owned()).await;
    assert!(served.len() > TEAMS * QUEUE * 9 / 10, "{}", served.len());
    assert!(waited > Duration::from_secs(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn within_a_namespace_and_among_those_with_equal_queues_the_order_is_that_of_arrival() {
    let gate = Gate::new(2, 3);
    let served = Arc::new(Mutex::new(Vec::new()));
    for number in 0..30 {
        let (gate, served) = (gate.clone(), Arc::clone(&served));
        tokio::spawn(async move {
            let team = ["a", "b"][number % 2];
            let _place = gate.enter(team).await;
            served.lock().push(number);
            sleep(WORK).await;
        });
    }
    sleep(WORK * 30).await;
    for team in 0..2 {
        let of_team: Vec<_> = served.lock().iter().copied().filter(|number| number % 2 == team).collect();
        assert_eq!(of_team, (team..30).step_by(2).collect::<Vec<_>>());
    }
    assert_untouched(&gate, 3);
}

#[tokio::test(start_paused = true)]
async fn neither_a_namespace_nor_the_process_gets_more_than_its_places() {
    let gate = Gate::new(2, 3);
    let mut a = some(&gate, "a", 2);
    assert!(now(&gate, "a").is_none(), "a third place of a namespace");
    let b = some(&gate, "b", 1);
    assert!(now(&gate, "b").is_none(), "a fourth place of the process");
    assert_eq!((gate.taken(), gate.waiting()), (3, 0));
    a.pop();
    drop((some(&gate, "b", 1), a, b));
    assert_untouched(&gate, 3);
    assert_eq!(some(&Gate::new(0, 0), "a", 1).len(), 1, "nobody would ever be served");
}

#[tokio::test(start_paused = true)]
async fn a_released_place_of_the_process_serves_others_while_the_namespace_keeps_its_own() {
    let gate = Gate::new(1, 1);
    let mut place = now(&gate, "a").unwrap();
    let other = waiter(&gate, "b").await;
    assert_eq!((gate.waiting(), gate.taken(), gate.kept()), (1, 1, 0));
    place.release_process();
    place.release_process();
    let other = other.await.unwrap();
    assert_eq!((gate.waiting(), gate.taken(), gate.kept()), (0, 1, 1));
    drop(other);
    assert!(now(&gate, "a").is_none(), "the namespace has one place, and it is kept");
    drop(place);
    assert!(now(&gate, "a").is_some());
    assert_untouched(&gate, 1);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_slowed_down_has_half_its_share_and_gets_it_back_one_by_one() {
    let gate = Gate::new(4, 16);
    gate.slow_down("a");
    let two = some(&gate, "a", 2);
    assert!(now(&gate, "a").is_none(), "half of four are two");
    assert_eq!(some(&gate, "b", 4).len(), 4, "other namespaces keep theirs");
    gate.speed_up("a");
    let third = some(&gate, "a", 1);
    assert!(now(&gate, "a").is_none());
    drop((two, third));
    for _ in 0..9 {
        gate.slow_down("a");
    }
    let one = some(&gate, "a", 1);
    assert!(now(&gate, "a").is_none(), "never less than one");
    drop(one);
    assert_eq!(lanes(&gate), 1, "a lost share is remembered");
    for _ in 0..9 {
        gate.speed_up("a");
    }
    assert_untouched(&gate, 16);
    assert_eq!(some(&gate, "a", 4).len(), 4);
    assert!(some(&gate, "a", 4).len() == 4 && now(&gate, "a").is_some());
    gate.speed_up("never seen");
    assert_untouched(&gate, 16);
}

#[tokio::test(start_paused = true)]
async fn places_that_are_out_when_a_namespace_is_slowed_down_are_not_given_again() {
    let gate = Gate::new(4, 16);
    let mut out = some(&gate, "a", 4);
    gate.slow_down("a");
    let waiter = waiter(&gate, "a").await;
    for _ in 0..2 {
        out.pop();
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished(), "two are out, and the share is two");
    }
    out.pop();
    let place = waiter.await.unwrap();
    gate.slow_down("a");
    gate.speed_up("a");
    assert!(now(&gate, "a").is_none(), "what comes back to the share is still out");
    drop((place, out));
    gate.speed_up("a");
    gate.speed_up("a");
    assert_untouched(&gate, 16);
}

#[tokio::test(start_paused = true)]
async fn existing_work_takes_its_place_beyond_the_bounds_and_later_work_waits_for_room() {
    let gate = Gate::new(2, 3);
    let mut existing: Vec<_> = (0..5).map(|_| gate.take("a")).collect();
    assert_eq!(gate.taken(), 5);
    let (same, other) = (waiter(&gate, "a").await, waiter(&gate, "b").await);
    for left in [4, 3] {
        existing.pop();
        tokio::task::yield_now().await;
        assert_eq!((existing.len(), gate.waiting()), (left, 2));
    }
    existing.pop();
    let other = other.await.unwrap();
    assert!(!same.is_finished(), "its namespace has two places out");
    existing.pop();
    drop((same.await.unwrap(), other, existing));
    assert_untouched(&gate, 3);
}

#[tokio::test(start_paused = true)]
async fn existing_work_that_does_not_run_gives_back_the_place_of_the_process_alone() {
    let gate = Gate::new(1, 1);
    let mut existing: Vec<_> = (0..2).map(|_| gate.take("a")).collect();
    existing.iter_mut().for_each(Place::release_process);
    assert_eq!((gate.taken(), gate.kept()), (0, 2));
    drop(now(&gate, "b").unwrap());
    assert!(now(&gate, "a").is_none());
    drop(existing);
    assert_untouched(&gate, 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_anywhere_leaves_nothing_behind() {
    let gate = Gate::new(2, 3);
    let out = (some(&gate, "a", 2), some(&gate, "b", 1));
    // In the queue of its namespace; in that of the process; and waiting for its turn there.
    let waiting =
        [waiter(&gate, "a").await, waiter(&gate, "b").await, waiter(&gate, "c").await, waiter(&gate, "c").await];
    assert_eq!(gate.waiting(), 4);
    waiting.iter().for_each(JoinHandle::abort);
    for task in waiting {
        assert!(task.await.err().unwrap().is_cancelled());
    }
    assert_eq!((gate.waiting(), lanes(&gate)), (0, 2));
    drop(out);
    assert_untouched(&gate, 3);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_given_to_a_waiter_that_is_gone_is_given_to_the_next() {
    for slowed in [false, true] {
        let gate = Gate::new(1, 1);
        let place = now(&gate, "a").unwrap();
        let (gone, next) = (waiter(&gate, "a").await, waiter(&gate, "a").await);
        drop(place); // it is the first waiter's now, which has not seen it yet
        if slowed {
            gate.slow_down("a");
        }
        gone.abort();
        let next = timeout(WORK, next).await.unwrap().unwrap();
        drop((gone.await, next));
        assert_untouched(&gate, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_comes_back_by_a_dropped_waiter_pays_what_is_owed() {
    let gate = Gate::new(4, 16);
    let mut out = some(&gate, "a", 4);
    let gone = waiter(&gate, "a").await;
    out.pop();
    gate.slow_down("a");
    gone.abort();
    drop(gone.await);
    out.pop();
    assert!(now(&gate, "a").is_none(), "two are out, and the share is two");
    out.pop();
    assert!(now(&gate, "a").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_does_not_grow_with_the_namespaces_that_were_ever_served() {
    let gate = Gate::new(4, 16);
    for number in 0..1000 {
        let namespace = format!("team-{number}");
        gate.slow_down(&namespace);
        drop((now(&gate, &namespace).unwrap(), gate.take(&namespace)));
        gate.speed_up(&namespace);
        gate.speed_up(&namespace);
    }
    assert_untouched(&gate, 16);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_may_wait_at_little_cost() {
    let gate = Gate::new(4, 16);
    assert!(size_of_val(&gate.enter("team-a")) <= 512, "{}", size_of_val(&gate.enter("team-a")));
    let tasks: Vec<_> = (0..10_000)
        .map(|number| {
            let gate = gate.clone();
            tokio::spawn(async move { drop(gate.enter(&format!("team-{}", number % 7)).await) })
        })
        .collect();
    futures::future::join_all(tasks).await;
    assert_untouched(&gate, 16);
}

#[tokio::test(start_paused = true)]
async fn a_further_place_is_given_only_while_nobody_waits() {
    let gate = Gate::new(3, 4);
    let first = gate.enter("a").await;
    let second = gate.try_enter("a").unwrap();
    let third = gate.try_enter("a").unwrap();
    assert!(gate.try_enter("a").is_none(), "the bound of the namespace");
    let other = gate.try_enter("b").unwrap();
    assert!(gate.try_enter("b").is_none(), "the bound of the process");
    drop((second, third, other));
    assert_eq!(gate.taken(), 1);
    let held = [gate.try_enter("b").unwrap(), gate.try_enter("b").unwrap(), gate.try_enter("b").unwrap()];
    let mut waiter = Box::pin(gate.enter("c"));
    assert!(futures::poll!(&mut waiter).is_pending());
    drop(held);
    assert!(gate.try_enter("a").is_none(), "somebody waits");
    drop((waiter.await, first));
    assert_eq!((gate.taken(), gate.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_was_slowed_down_and_is_gone_is_forgotten() {
    let gate = Gate::new(4, 8);
    gate.slow_down("gone");
    let _place = gate.enter("busy").await;
    gate.slow_down("busy");
    gate.forgive();
    assert_eq!(gate.0.books.lock().lanes.len(), 2);
    tokio::time::advance(FORGIVEN).await;
    gate.forgive();
    assert_eq!(gate.0.books.lock().lanes.keys().map(|name| &**name).collect::<Vec<_>>(), ["busy"]);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_held_back_gets_its_next_place_when_that_is_over_and_others_wait_for_nothing() {
    let (gate, begun) = (Gate::new(4, 2), Instant::now());
    gate.hold("a", Duration::from_secs(30));
    gate.hold("a", Duration::from_secs(10));
    let held = waiter(&gate, "a").await;
    assert!(gate.try_enter("a").is_none() && gate.slowed().len() == 1);
    let others = some(&gate, "b", 2);
    assert_eq!(others.len(), 2, "one that is held back has no place of the process");
    drop(others);
    let place = timeout(Duration::from_mins(1), held).await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_secs(), 30, "the longer wait counts");
    drop(place);
    assert!(gate.slowed().is_empty());
}
