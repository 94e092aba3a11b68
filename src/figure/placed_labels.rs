//! Places labels on contour lines, away from each other, the markers and the frame.

use plotters::prelude::*;

use super::axes::Axes;
use super::canvas::{Anchor, Canvas, DrawResult, Pixel, Size};
use super::text::{SMALL, word_width};

/// Free space around a label, in layout pixels.
const CLEARANCE: f64 = 7.0;

/// A box on the canvas: its centre and half its size.
#[derive(Clone, Copy)]
pub struct Obstacle {
    /// Centre.
    pub at: Pixel,
    /// Half the width and height.
    pub half: Size,
}

/// The labels that have been placed.
pub struct PlacedLabels {
    obstacles: Vec<Obstacle>,
    placed: Vec<(Obstacle, String)>,
}

impl PlacedLabels {
    /// Starts without labels; these boxes must be kept free.
    pub fn new(obstacles: Vec<Obstacle>) -> Self {
        Self {
            obstacles,
            placed: Vec::new(),
        }
    }

    /// Places a label at the point of the lines that is farthest from everything else, if there is
    /// room; returns whether there was.
    pub fn place(&mut self, lines: &[Vec<Pixel>], text: &str, axes: &Axes) -> bool {
        let half = (word_width(text, SMALL) / 2.0 + 4.0, 0.5 * SMALL + 1.0);
        let room = |at: &Pixel| self.room(Obstacle { at: *at, half }, axes);
        let points = lines.iter().flatten();
        let best = points
            .map(|at| (room(at), *at))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, at)) = best.filter(|(room, _)| *room > CLEARANCE) else {
            return false;
        };
        let label = Obstacle { at, half };
        self.obstacles.push(label);
        self.placed.push((label, text.to_string()));
        true
    }

    /// The number of placed labels.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.placed.len()
    }

    /// Whether no label has been placed.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// Pixels between a box and the nearest other thing; negative if they overlap.
    fn room(&self, label: Obstacle, axes: &Axes) -> f64 {
        let ((x, y), (w, h)) = (label.at, label.half);
        let sides = [
            x - axes.left - w,
            axes.right() - x - w,
            y - axes.top - h,
            axes.bottom() - y - h,
        ];
        let frame = sides.into_iter().fold(f64::INFINITY, f64::min);
        let others = self.obstacles.iter().map(|other| {
            let across = (other.at.0 - x).abs() - other.half.0 - w;
            let down = (other.at.1 - y).abs() - other.half.1 - h;
            match (across > 0.0, down > 0.0) {
                (true, true) => across.hypot(down),
                _ => across.max(down),
            }
        });
        others.fold(frame, f64::min)
    }

    /// Writes the labels on a light background.
    pub fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        for (Obstacle { at, half }, text) in &self.placed {
            let corners = [
                (at.0 - half.0, at.1 - half.1),
                (at.0 + half.0, at.1 + half.1),
            ];
            canvas.fill(corners, WHITE.mix(0.72))?;
            canvas.word(text, *at, SMALL, Anchor::Middle)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_apart_and_give_way_when_there_is_no_room() {
        let axes = Axes {
            left: 0.0,
            top: 0.0,
            scale: [1.0, 1.0],
            x: (0.0, 300.0),
            y: (0.0, 300.0),
        };
        let line = |y: f64| vec![(0..=300).map(|x| (f64::from(x), y)).collect::<Vec<_>>()];
        let mut labels = PlacedLabels::new(Vec::new());
        for k in 0..40 {
            labels.place(&line(100.0 + 2.0 * f64::from(k)), "12.5", &axes);
        }
        assert!((4..20).contains(&labels.placed.len()));
        for (index, (a, _)) in labels.placed.iter().enumerate() {
            for (b, _) in &labels.placed[..index] {
                let apart = (a.at.0 - b.at.0).abs() >= a.half.0 + b.half.0
                    || (a.at.1 - b.at.1).abs() >= a.half.1 + b.half.1;
                assert!(apart, "{:?} {:?}", a.at, b.at);
            }
        }
    }
}
