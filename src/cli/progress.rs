//! Progress of long work: a bar at a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::course::Course;
use super::note;
use crate::analysis::learned::TrainingStep;
use crate::evaluate::onnx::size;
use crate::evaluate::{Outlook, Watch};
use crate::result::provenance::Provenance;
use crate::result::soup::Method;

/// Says what a run is going to take, and how far it is.
#[derive(Default)]
pub struct Progress {
    meter: OnceLock<Meter>,
    /// How the work is laid out, once it is known.
    layout: OnceLock<String>,
    /// Nodes that are frozen, and all.
    frozen: Option<(usize, usize)>,
    /// Whether the first part of the data is shown as soon as it is done.
    shows_parts: bool,
    /// All bars, one below the other.
    bars: MultiProgress,
    /// A soup that is being learned.
    course: Mutex<Option<Course>>,
}

impl Progress {
    /// Progress on a network of which so many nodes are frozen, of so many; `shows_parts` says
    /// that partial results are written.
    pub fn new(frozen: Option<(usize, usize)>, shows_parts: bool) -> Self {
        Self {
            frozen,
            shows_parts,
            ..Self::default()
        }
    }

    /// A step of learning was taken: a bar of its own.
    pub fn learned(&self, method: Method, moment: &TrainingStep) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        if moment.step == 1 {
            *course = None;
        }
        let course = course.get_or_insert_with(|| Course::new(method.label(), &self.bars));
        course.step(moment);
    }

    /// Takes the bar of learning away.
    fn end_course(&self) {
        *self.course.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes the bars away; returns samples per second.
    pub fn finish(&self) -> f64 {
        self.end_course();
        self.meter.get().map_or(0.0, Meter::finish)
    }

    /// Where numbers come from, with the layout and the time since `start`.
    pub fn recorded(&self, provenance: &Provenance, start: Instant) -> Provenance {
        let mut provenance = provenance.clone();
        provenance.wall_seconds = start.elapsed().as_secs_f64();
        if let Some(layout) = self.layout.get() {
            let layout = layout.clone();
            provenance.settings.insert("layout".to_string(), layout);
        }
        provenance
    }

    /// What is said when the run begins.
    fn plan(&self, outlook: &Outlook) -> String {
        let Outlook {
            models,
            samples,
            chunks,
            done,
            ..
        } = outlook;
        let mut line = format!(
            "{models} models × {samples} samples, about {}, {} of memory",
            brief(outlook.seconds),
            size(outlook.memory)
        );
        if let Some((frozen, all)) = self.frozen {
            line.push_str(&format!(
                "; {frozen} of {all} nodes are frozen and run once"
            ));
        }
        if *chunks > 1 && self.shows_parts {
            line.push_str(&format!("; the map shows after 1/{chunks} of the samples"));
        }
        if *done > 0 {
            let part = 100.0 * *done as f64 / (models * samples) as f64;
            line.push_str(&format!(
                "; {part:.0} % were done before (--fresh begins anew)"
            ));
        }
        line
    }
}

impl Watch for Progress {
    fn begins(&self, outlook: &Outlook) {
        self.end_course();
        let Outlook {
            models,
            samples,
            done,
            ..
        } = *outlook;
        let points = models - done / samples.max(1);
        match self.meter.get() {
            None => {
                note(&self.plan(outlook));
                let meter = Meter::new(points, models * samples - done, &self.bars);
                let _ = self.meter.set(meter);
            }
            // A later call refines the grid, or tries another soup.
            Some(meter) => {
                if self.shows_parts {
                    let seconds = brief(outlook.seconds);
                    note(&format!("refining: {points} more points, about {seconds}"));
                }
                meter.extend(points, models * samples - done);
            }
        }
        let _ = self.layout.set(outlook.layout.clone());
    }

    fn progress(&self, models: usize, samples: usize) {
        if let Some(meter) = self.meter.get() {
            meter.add(models, samples);
        }
    }
}

/// Seconds as a person would say them.
fn brief(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "1 s".to_string(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Counts points and samples that are done.
struct Meter {
    bar: Option<ProgressBar>,
    points: AtomicUsize,
    samples: AtomicUsize,
    points_done: AtomicUsize,
    samples_done: AtomicUsize,
    start: Instant,
    /// Milliseconds after `start` when the next plain line is due.
    next_line: AtomicUsize,
}

/// Milliseconds between plain lines.
pub const LINE_EVERY: usize = 10_000;

impl Meter {
    /// A meter for `points` models and, over all of them, `samples` samples.
    fn new(points: usize, samples: usize, bars: &MultiProgress) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = bars.add(ProgressBar::new(samples as u64));
            let template = "{bar:30} {msg} {per_sec} samples, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            bar,
            points: AtomicUsize::new(points),
            samples: AtomicUsize::new(samples),
            points_done: AtomicUsize::new(0),
            samples_done: AtomicUsize::new(0),
            start: Instant::now(),
            next_line: AtomicUsize::new(LINE_EVERY),
        }
    }

    /// Adds more to do.
    fn extend(&self, points: usize, samples: usize) {
        self.points.fetch_add(points, Ordering::Relaxed);
        self.samples.fetch_add(samples, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc_length(samples as u64);
        }
    }

    /// Adds what was done; called from any worker.
    fn add(&self, points: usize, samples: usize) {
        let points = self.points_done.fetch_add(points, Ordering::Relaxed) + points;
        let samples = self.samples_done.fetch_add(samples, Ordering::Relaxed) + samples;
        let all = self.points.load(Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_position(samples as u64);
            bar.set_message(format!("{points}/{all} points"));
            return;
        }
        let elapsed = self.start.elapsed();
        let due = self.next_line.load(Ordering::Relaxed);
        let now = elapsed.as_millis() as usize;
        let next = now + LINE_EVERY;
        let mine = now >= due
            && self
                .next_line
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            let rate = samples as f64 / elapsed.as_secs_f64();
            let left = self.samples.load(Ordering::Relaxed).saturating_sub(samples) as f64 / rate;
            note(&format!(
                "{points}/{all} points, {rate:.0} samples/s, {left:.0} s left"
            ));
        }
    }

    /// Takes the bar away; returns samples per second.
    fn finish(&self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.samples_done.load(Ordering::Relaxed) as f64 / self.start.elapsed().as_secs_f64()
    }
}

/// Progress of work whose steps take about the same time, with the time left.
pub struct Steps {
    bar: Option<ProgressBar>,
    all: usize,
    done: AtomicUsize,
    start: Instant,
    /// Milliseconds after `start` when the next plain line is due.
    next_line: AtomicUsize,
    what: &'static str,
}

impl Steps {
    /// A meter for `all` steps of `what`.
    pub fn new(all: usize, what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(all as u64);
            if let Ok(style) =
                ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left")
            {
                bar.set_style(style);
            }
            bar.set_message(what);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            bar,
            all,
            done: AtomicUsize::new(0),
            start: Instant::now(),
            next_line: AtomicUsize::new(LINE_EVERY),
            what,
        }
    }

    /// Adds steps that were done, and what there is to say of them.
    pub fn advance(&self, steps: usize, news: &str) {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        let what = match news {
            "" => self.what.to_string(),
            news => format!("{}, {news}", self.what),
        };
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(what);
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let now = (1e3 * seconds) as usize;
        if now >= self.next_line.load(Ordering::Relaxed) {
            self.next_line.store(now + LINE_EVERY, Ordering::Relaxed);
            let left = seconds / done.max(1) as f64 * self.all.saturating_sub(done) as f64;
            note(&format!("{done}/{} {what}, {} left", self.all, brief(left)));
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
