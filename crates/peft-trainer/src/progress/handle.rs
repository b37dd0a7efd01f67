//! The one state and the one screen that the training loop and burn-train share.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bar::Bar;
use super::lines::{Every, Lines};
use super::renderer::Renderer;
use super::report::{EvalReport, StepReport};
use super::status::Status;

/// Something that shows a [`Status`]. `now` is the time since the handle was made.
pub trait Screen: Send {
    /// The status has changed.
    fn draw(&mut self, status: &Status, now: Duration);
    /// A line that stays: an evaluation's result or a message.
    fn line(&mut self, line: &str);
    /// Nothing more will come; whatever does not stay is taken away.
    fn finish(&mut self) {}
}

/// Shows nothing: for tests, and where burn-train's terminal interface has the screen.
struct Silent;

impl Screen for Silent {
    fn draw(&mut self, _: &Status, _: Duration) {}
    fn line(&mut self, _: &str) {}
}

/// What the training loop feeds. Clones share one state and one screen.
#[derive(Clone)]
pub struct ProgressHandle(Arc<Mutex<Shared>>);

struct Shared {
    began: Instant,
    status: Status,
    screen: Box<dyn Screen>,
}

impl ProgressHandle {
    /// Shows progress on a screen.
    pub fn new(screen: impl Screen + 'static) -> Self {
        let screen = Box::new(screen);
        Self(Arc::new(Mutex::new(Shared { began: Instant::now(), status: Status::default(), screen })))
    }

    /// A bar on standard error if that is a terminal, otherwise lines every ten seconds.
    pub fn auto() -> Self {
        if std::io::stderr().is_terminal() { Self::bar() } else { Self::lines(Every::default()) }
    }

    /// A bar on standard error.
    pub fn bar() -> Self {
        Self::new(Bar::new())
    }

    /// Lines on standard error.
    pub fn lines(every: Every) -> Self {
        Self::new(Lines::new(std::io::stderr(), every))
    }

    /// Nothing.
    pub fn silent() -> Self {
        Self::new(Silent)
    }

    /// A step has been taken.
    pub fn step(&self, report: StepReport) {
        self.change(|status, now| {
            status.step(report, now);
            true
        });
    }

    /// An evaluation has ended: its line stays.
    pub fn evaluated(&self, report: EvalReport) {
        let mut shared = self.lock();
        let now = shared.began.elapsed();
        shared.status.evaluated(now);
        shared.screen.line(&report.line());
    }

    /// A line that stays and does not tear the bar.
    pub fn message(&self, line: &str) {
        self.lock().screen.line(line);
    }

    /// Takes the bar away. burn-train's end of training does so too.
    pub fn finish(&self) {
        self.lock().screen.finish();
    }

    /// The part that burn-train gets.
    pub fn renderer(&self) -> Renderer {
        Renderer::new(self.clone())
    }

    /// Changes the status, and shows it if the change says so.
    pub(super) fn change(&self, change: impl FnOnce(&mut Status, Duration) -> bool) {
        let mut shared = self.lock();
        let now = shared.began.elapsed();
        let Shared { status, screen, .. } = &mut *shared;
        if change(status, now) {
            screen.draw(status, now);
        }
    }

    // A screen that panicked must not take the run with it.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
