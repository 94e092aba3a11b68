//! Measures the plane through θ0 and two checkpoints, and prints the minimum of the test loss.
//!
//! Run it with `cargo run --release --example plane`.

use std::path::Path;

use landscape::data::{Preprocess, Source};
use landscape::error::Result;
use landscape::experiment::candidates::{Candidate, Candidates};
use landscape::experiment::plane::{self, PlaneSettings};
use landscape::experiment::session::Session;
use landscape::experiment::settings::SessionSettings;
use landscape::result::score::Role;

fn main() -> Result<()> {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits");
    let checkpoints = ["ft1", "ft2"].map(|name| Candidate::file(digits.join(name)));
    let test = Source::new("test", Role::Test, digits.join("test.npz"));
    let models = Candidates::Files(checkpoints.into());
    let mut settings = SessionSettings::new(digits.join("zs.onnx"), models, vec![test]);
    settings.preprocess = Some(Preprocess::new(1.0 / 255.0, vec![0.1307], vec![0.3081], 1)?);
    settings.limit = Some(200);
    let session = Session::open(settings, &())?;
    let settings = PlaneSettings::with_steps(7);
    let plane = plane::run(&session, &settings, &())?;
    if let Some(least) = &plane.summary.minimum[0].loss {
        let (loss, x, y) = (least.value, least.x, least.y);
        println!("least test loss: {loss:.4} nats at ({x:.2}, {y:.2})");
    }
    Ok(())
}
