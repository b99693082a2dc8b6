//! The log's file that is put aside when it has grown, under a name with its time, and what becomes of those put aside: packed, and
//! removed when they are many or old. It must not lose a line, and what cannot be done to old files must not stop the log.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use ravelin_config::static_config::Log;

const MIB: u64 = 1 << 20;
/// Where no size is given, as in Traefik.
const SIZE_DEFAULT_MIB: u64 = 100;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How the time stands in a name: sorted by name is sorted by time.
const TIME_FORM: &str = "%Y-%m-%dT%H-%M-%S%.3f";
const PACKED: &str = "gz";

/// When a file is put aside, and what becomes of those that were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    pub(super) bytes_max: u64,
    /// Those beyond go, the oldest first; `None`: none goes by count.
    pub(super) backups_max: Option<usize>,
    /// Those that are older go; `None`: none goes by age.
    pub(super) age_max: Option<Duration>,
    pub(super) compress: bool,
}

impl Rotation {
    /// What a configuration asks for; 0 and less stand for none, of a size for the usual one.
    pub(super) fn new(log: &Log) -> Self {
        let positive = |number: i64| u64::try_from(number).ok().filter(|&number| number > 0);
        Self {
            bytes_max: positive(log.max_size).unwrap_or(SIZE_DEFAULT_MIB).saturating_mul(MIB),
            backups_max: positive(log.max_backups).and_then(|most| usize::try_from(most).ok()),
            age_max: positive(log.max_age)
                .map(|days| DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX))),
            compress: log.compress,
        }
    }

    /// Puts the file aside under its name with this time; gives the new name.
    pub(super) fn put_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
        let time = jiff::Timestamp::try_from(now).unwrap_or_default().strftime(TIME_FORM).to_string();
        let (stem, end) = stem_and_end(path);
        // Two of one millisecond must not take each other's place.
        for turn in 0..1000_u32 {
            let more = if turn == 0 { String::new() } else { format!("-{turn:03}") };
            let aside = path.with_file_name(format!("{stem}-{time}{more}{end}"));
            let packed = path.with_file_name(format!("{stem}-{time}{more}{end}.{PACKED}"));
            if !aside.exists() && !packed.exists() {
                std::fs::rename(path, &aside)?;
                return Ok(aside);
            }
        }
        Err(io::Error::other("no name is free"))
    }

    /// Packs and removes what was put aside. Takes as long as the disk does: not for the thread that logs.
    ///
    /// # Errors
    /// The first that could not be done; the others were tried.
    pub(super) fn tidy(self, path: &Path, now: SystemTime) -> io::Result<()> {
        let mut aside = put_aside_before(path)?;
        let mut done = Ok(());
        // The newest first.
        aside.sort_unstable_by(|a, b| b.cmp(a));
        for (place, file) in aside.into_iter().enumerate() {
            let many = self.backups_max.is_some_and(|most| place >= most);
            let old = self.age_max.is_some_and(|most| age(&file, now).is_some_and(|age| age > most));
            let is_packed = file.extension().is_some_and(|end| end == PACKED);
            let tried = match (many || old, self.compress && !is_packed) {
                (true, _) => std::fs::remove_file(&file),
                (false, true) => pack(&file),
                (false, false) => Ok(()),
            };
            done = done.and(tried);
        }
        done
    }
}

fn stem_and_end(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let end = path.extension().map_or(String::new(), |end| format!(".{}", text(Some(end))));
    (text(path.file_stem()), end)
}

/// Files beside this one that carry its name and a time.
fn put_aside_before(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (stem, end) = stem_and_end(path);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let plain = name.strip_suffix(&format!(".{PACKED}")).unwrap_or(name);
        let time = plain.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&end));
        if time.is_some_and(|time| time_of(time).is_some()) {
            found.push(folder.join(name));
        }
    }
    Ok(found)
}

/// The time in a name, without what keeps two of one millisecond apart.
fn time_of(text: &str) -> Option<SystemTime> {
    let time = text.get(.."2026-01-01T00-00-00.000".len())?;
    let rest = text.strip_prefix(time)?;
    let is_rest = rest.is_empty()
        || rest.strip_prefix('-').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let read = jiff::civil::DateTime::strptime(TIME_FORM, time).ok().filter(|_| is_rest)?;
    Some(read.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into())
}

fn age(file: &Path, now: SystemTime) -> Option<Duration> {
    let modified = std::fs::metadata(file).and_then(|data| data.modified()).ok()?;
    now.duration_since(modified).ok()
}

/// Replaces a file by its packed form, which has its name only once it is whole.
fn pack(file: &Path) -> io::Result<()> {
    let with = |end: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (packed, begun) = (with(&format!(".{PACKED}")), with(".part"));
    let mut out = GzEncoder::new(File::create(&begun)?, Compression::default());
    io::copy(&mut File::open(file)?, &mut out)?;
    out.finish()?.flush()?;
    std::fs::rename(&begun, &packed)?;
    std::fs::remove_file(file)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries =
            std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn rotation(backups: i64, days: i64, compress: bool) -> Rotation {
        let log = Log { max_backups: backups, max_age: days, compress, ..Log::default() };
        Rotation::new(&log)
    }

    #[test]
    fn files_put_aside_have_their_time_in_their_names_and_none_takes_anothers_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("own.log");
        for text in ["one", "two", "three"] {
            std::fs::write(&path, text).expect("written");
            let moment = if text == "three" { at(1) } else { at(0) };
            let aside = Rotation::put_aside(&path, moment).expect("put aside");
            assert_eq!(std::fs::read_to_string(aside).expect("it is there"), text);
        }
        assert_eq!(
            names(folder.path()),
            [
                "own-2023-11-14T22-13-20.000-001.log",
                "own-2023-11-14T22-13-20.000.log",
                "own-2023-11-14T22-13-21.000.log"
            ]
        );
    }

    #[test]
    fn the_oldest_go_beyond_a_count_and_what_stays_is_packed_and_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("own.log");
        for second in 0..4 {
            std::fs::write(&path, format!("line {second}\n")).expect("written");
            Rotation::put_aside(&path, at(second)).expect("put aside");
        }
        for other in ["own.log", "own-notes.log", "other-2023-11-14T22-13-20.000.log"] {
            std::fs::write(folder.path().join(other), "mine").expect("written");
        }
        rotation(2, 0, true).tidy(&path, at(9)).expect("tidied");
        let kept = ["own-2023-11-14T22-13-22.000.log.gz", "own-2023-11-14T22-13-23.000.log.gz"];
        let others = ["other-2023-11-14T22-13-20.000.log", "own-notes.log", "own.log"];
        let mut wanted: Vec<&str> = kept.into_iter().chain(others).collect();
        wanted.sort_unstable();
        assert_eq!(names(folder.path()), wanted);
        let packed = File::open(folder.path().join(kept[1])).expect("it is there");
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("gzip");
        assert_eq!(text, "line 3\n");
        rotation(0, 0, true).tidy(&path, at(9)).expect("again: nothing is packed twice");
        assert_eq!(names(folder.path()), wanted);
    }

    #[test]
    fn those_that_are_too_old_go() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("own.log");
        std::fs::write(&path, "x").expect("written");
        let aside = Rotation::put_aside(&path, SystemTime::now()).expect("put aside");
        rotation(0, 2, false).tidy(&path, SystemTime::now() + DAY).expect("tidied");
        assert!(aside.exists(), "a day is not two");
        rotation(0, 2, false).tidy(&path, SystemTime::now() + 3 * DAY).expect("tidied");
        assert!(!aside.exists());
    }

    #[test]
    fn what_is_not_given_is_as_in_traefik() {
        let usual = Rotation::new(&Log::default());
        let wanted = Rotation { bytes_max: 100 << 20, backups_max: None, age_max: None, compress: false };
        assert_eq!(usual, wanted);
        let small = Rotation::new(&Log { max_size: 1, max_age: -1, max_backups: -5, ..Log::default() });
        assert_eq!(small, Rotation { bytes_max: 1 << 20, ..wanted });
    }
}
