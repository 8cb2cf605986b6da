//! The clock is paused in each test: a sleep moves it, and nothing waits for real time.

use futures::channel::oneshot;
use parking_lot::Mutex;

use super::*;

/// Enters and looks that wait until the test lets them go on.
#[derive(Default)]
struct Doors {
    entering: Mutex<Vec<(Key, oneshot::Sender<()>)>>,
    looking: Mutex<Vec<(Key, oneshot::Sender<Option<Duration>>)>>,
}

struct Served {
    doors: Arc<Doors>,
    wakes: mpsc::UnboundedSender<Key>,
}

impl Served {
    fn new() -> Self {
        let (doors, (wakes, woken)) = (Arc::<Doors>::default(), mpsc::unbounded_channel());
        let (enters, looks) = (Arc::clone(&doors), Arc::clone(&doors));
        let enter = move |key: Key| {
            let (open, opened) = oneshot::channel();
            enters.entering.lock().push((key.clone(), open));
            opened.map(|_| (key, ()))
        };
        let look = move |key: Key, ()| {
            let (end, ended) = oneshot::channel();
            looks.looking.lock().push((key.clone(), end));
            ended.map(|next| (key, next.unwrap()))
        };
        tokio::spawn(serve(woken, enter, look));
        Self { doors, wakes }
    }

    fn wake(&self, name: &str) {
        self.wakes.send(Key::new("team", name)).unwrap();
    }

    /// The names that wait for their place, and those that are looked at.
    async fn now(&self) -> (Vec<String>, Vec<String>) {
        // Time stands until all tasks wait for it.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let entering = self.doors.entering.lock().iter().map(|(key, _)| key.name().to_owned()).collect();
        (entering, self.doors.looking.lock().iter().map(|(key, _)| key.name().to_owned()).collect())
    }

    /// The only one that waits for its place gets it.
    async fn admit(&self) {
        self.now().await;
        let (_, open) = self.doors.entering.lock().pop().unwrap();
        open.send(()).unwrap();
        self.now().await;
    }

    async fn end(&self, next: Option<u64>) {
        let (_, end) = self.doors.looking.lock().pop().unwrap();
        end.send(next.map(Duration::from_secs)).unwrap();
        self.now().await;
    }

    async fn is_still(&self) {
        assert_eq!(self.now().await, (Vec::new(), Vec::new()));
    }
}

fn only(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}

#[tokio::test(start_paused = true)]
async fn many_wakes_before_a_look_begins_are_one_look() {
    let queue = Served::new();
    for _ in 0..3 {
        queue.wake("a");
    }
    assert_eq!(queue.now().await, (only("a"), Vec::new()));
    queue.admit().await;
    queue.end(None).await;
    queue.is_still().await;
}

#[tokio::test(start_paused = true)]
async fn wakes_during_a_look_are_one_more_look_and_never_a_second_one_beside_it() {
    let queue = Served::new();
    queue.wake("a");
    queue.admit().await;
    for _ in 0..3 {
        queue.wake("a");
    }
    assert_eq!(queue.now().await, (Vec::new(), only("a")));
    queue.end(Some(60)).await;
    assert_eq!(queue.now().await, (only("a"), Vec::new()));
    queue.admit().await;
    queue.end(None).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    queue.is_still().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_looked_at_again_when_its_time_has_come_and_not_before() {
    let queue = Served::new();
    queue.wake("a");
    queue.admit().await;
    queue.end(Some(60)).await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    queue.is_still().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    queue.admit().await;
    queue.end(Some(0)).await;
    assert_eq!(queue.now().await, (only("a"), Vec::new()), "at once");
}

#[tokio::test(start_paused = true)]
async fn a_wake_takes_the_place_of_a_timer() {
    let queue = Served::new();
    queue.wake("a");
    queue.admit().await;
    queue.end(Some(60)).await;
    queue.wake("a");
    queue.admit().await;
    queue.end(Some(300)).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    queue.is_still().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(queue.now().await, (only("a"), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_holds_no_other() {
    let queue = Served::new();
    queue.wake("a");
    queue.admit().await;
    queue.wake("b");
    assert_eq!(queue.now().await, (only("b"), only("a")));
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_hangs_is_begun_again_before_the_process_is_and_one_that_panics_later() {
    let (begun, key) = (Instant::now(), Key::new("team", "a"));
    assert_eq!(ended(&key, std::future::pending()).await, Some(Duration::ZERO));
    assert!(begun.elapsed() < Duration::from_mins(5), "/livez fails by then");
    assert_eq!(ended(&key, async { panic!("a fault of ours") }).await, Some(AFTER_PANIC));
    assert_eq!(ended(&key, async { None }).await, None);
}
