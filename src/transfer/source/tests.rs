//! What is opened, what is waited for, and which changes are noticed.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::place::LARGEST_PUT;
use super::settle::{SETTLE, SETTLE_LIMIT};
use super::*;

/// More than is read when a file is opened.
static LARGE: [u8; WHOLE + 1] = [5; WHOLE + 1];

fn aged_file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    age(&file);
    file
}

fn age(file: &tempfile::NamedTempFile) {
    file.as_file().set_modified(SystemTime::now() - Duration::from_mins(1)).unwrap();
}

async fn open(path: &Path) -> Result<Opened, SourceError> {
    Source::file(path).open().await
}

#[tokio::test]
async fn a_file_gives_its_size_and_beginning() {
    let file = aged_file(&[7; 10_000]);
    let opened = open(file.path()).await.unwrap();
    assert_eq!((opened.size(), opened.head().len()), (10_000, HEAD));
    opened.check_unchanged().unwrap();
}

fn fresh_file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"half").unwrap();
    // Fresh for as long as the test runs, as with another host's clock.
    file.as_file().set_modified(SystemTime::now() + Duration::from_hours(1)).unwrap();
    file
}

/// How long it takes to open a source, on the paused clock.
async fn wait_of(source: &Source) -> Duration {
    let begun = Instant::now();
    source.open().await.unwrap();
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_fresh_file_is_left_to_settle() {
    let file = fresh_file();
    assert!(wait_of(&Source::file(file.path())).await >= SETTLE, "two looks that agree");
    age(&file);
    assert!(wait_of(&Source::file(file.path())).await < SETTLE, "an old file is not waited for");
}

#[tokio::test(start_paused = true)]
async fn what_has_settled_is_not_waited_for_again_until_it_changes() {
    let file = fresh_file();
    let source = Source::file(file.path());
    let clone = source.clone();
    assert!(wait_of(&source).await >= SETTLE);
    assert!(wait_of(&source).await < SETTLE, "the second attempt");
    assert!(wait_of(&clone).await < SETTLE, "an attempt by a clone");
    file.as_file().set_len(2).unwrap();
    assert!(wait_of(&clone).await >= SETTLE, "after a change");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_long_after_a_first_look_does_not_wait() {
    let file = fresh_file();
    let source = Source::file(file.path());
    let look = tokio::time::timeout(Duration::from_secs(1), source.settle());
    assert!(look.await.is_err(), "the look ends before the file has settled");
    tokio::time::sleep(SETTLE).await;
    assert!(wait_of(&source).await < SETTLE);
}

#[tokio::test(start_paused = true)]
async fn many_sources_settle_in_the_time_of_one() {
    let files: Vec<_> = (0..8).map(|_| fresh_file()).collect();
    let sources: Vec<_> = files.iter().map(|file| Source::file(file.path())).collect();
    let begun = Instant::now();
    futures::future::join_all(sources.iter().map(Source::settle)).await;
    assert!((SETTLE..SETTLE * 2).contains(&begun.elapsed()));
    for source in &sources {
        assert!(wait_of(source).await < SETTLE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_needs_no_settling_never_waits() {
    let file = fresh_file();
    let source = Source::file(file.path()).settled();
    let begun = Instant::now();
    source.settle().await;
    source.open().await.unwrap();
    assert!(begun.elapsed() < SETTLE);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_written_all_the_time_is_given_up_after_a_minute() {
    let mut file = fresh_file();
    let source = Source::file(file.path());
    let begun = Instant::now();
    let writing = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            file.write_all(b"more").unwrap();
        }
    };
    let error = tokio::select! {
        result = source.open() => result.unwrap_err(),
        () = writing => unreachable!("it has no end"),
    };
    assert!(matches!(error, SourceError::Restless(_)), "{error}");
    assert!((SETTLE_LIMIT..SETTLE_LIMIT * 2).contains(&begun.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn settling_ends_where_there_is_nothing_to_send() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    Source::file(folder.path()).settle().await;
    Source::file(folder.path().join("none")).settle().await;
    assert!(begun.elapsed() < SETTLE);
}

#[tokio::test]
async fn every_kind_of_change_is_noticed() {
    let changes: [fn(&tempfile::NamedTempFile); 4] = [
        |file| file.as_file().set_len(3).unwrap(),
        |file| file.as_file().write_all_at(b"X", 0).unwrap(),
        |file| std::fs::remove_file(file.path()).unwrap(),
        |file| {
            let other = file.path().with_extension("other");
            std::fs::write(&other, LARGE.as_slice()).unwrap();
            std::fs::rename(other, file.path()).unwrap();
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        let file = aged_file(&LARGE);
        let opened = open(file.path()).await.unwrap();
        change(&file);
        assert!(matches!(opened.check_unchanged(), Err(SourceError::Changed(_))), "change {number}");
    }
}

#[tokio::test]
async fn a_file_that_shrank_cannot_be_read_to_its_old_end() {
    let file = aged_file(&LARGE);
    let opened = open(file.path()).await.unwrap();
    file.as_file().set_len(2).unwrap();
    assert!(matches!(opened.read_exact_at(&mut [0; 5], 0), Err(SourceError::Changed(_))));
}

#[tokio::test]
async fn what_is_no_regular_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, kind) in [(folder.path(), "directory"), (&socket, "socket"), (Path::new("/dev/null"), "device")] {
        let error = open(path).await.unwrap_err().to_string();
        assert!(error.contains(&format!("is a {kind}, not a regular file")), "{error}");
    }
    assert!(matches!(open(&folder.path().join("none")).await, Err(SourceError::NotFound { .. })));
    assert!(matches!(open(&socket.join("below")).await, Err(SourceError::NotFound { .. })));
}

#[tokio::test]
async fn more_than_one_put_can_take_is_refused() {
    let file = aged_file(b"");
    file.as_file().set_len(LARGEST_PUT + 1).unwrap();
    age(&file);
    assert!(matches!(open(file.path()).await, Err(SourceError::TooLarge(_))));
}

/// How many descriptors of this process are of the file.
fn descriptors(path: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|file| file == path)).count()
}

#[test]
fn a_file_is_closed_once_it_is_read_and_never_on_the_thread_that_sends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("a");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        std::fs::write(&path, vec![0; WHOLE]).unwrap();
        let small = Source::file(&path).settled().open().await.unwrap();
        assert_eq!((small.size(), descriptors(&path)), (WHOLE as u64, 0));

        std::fs::write(&path, vec![0; WHOLE + 1]).unwrap();
        let large = Source::file(&path).settled().open().await.unwrap();
        let (free, busy) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || busy.recv().is_err());
        drop(large);
        assert_eq!(descriptors(&path), 1, "the only other thread is busy");
        drop(free);
        busy.await.unwrap();
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        assert_eq!(descriptors(&path), 0);
    });
}
