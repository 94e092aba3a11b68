use super::page::Drawing;
use super::{layers, line, pairs, samples, scatter, soup, theory};
fn put(name: &str, drawing: &Drawing) {
    std::fs::create_dir_all("/tmp/fig-look").unwrap();
    std::fs::write(format!("/tmp/fig-look/{name}.png"), &drawing.png).unwrap();
    std::fs::write(format!("/tmp/fig-look/{name}.svg"), &drawing.svg).unwrap();
}
#[test]
#[ignore]
fn look() {
    let line = crate::result::line::read(std::path::Path::new("notebooks-data/line.csv")).unwrap();
    put(
        "line-shift",
        &scatter::draw(&line::scatter(&line).unwrap()).unwrap(),
    );
    let soups = samples::soups();
    put(
        "soups",
        &scatter::draw(&soup::scatter(&soups).unwrap()).unwrap(),
    );
    let mut tame = soups.clone();
    tame.methods
        .retain(|m| !matches!(m.method.name(), "uniform" | "task-arithmetic" | "wise-ft"));
    tame.methods.push(samples::result(
        crate::result::soup::Method::Uniform,
        None,
        97.3,
        83.2,
    ));
    for k in 0..=10 {
        let a = f64::from(k) / 10.0;
        tame.methods.push(samples::result(
            crate::result::soup::Method::WiseFt,
            Some(a),
            80.5 + 30.0 * a - 13.2 * a * a,
            80.3 + 12.0 * a - 9.1 * a * a,
        ));
    }
    put(
        "soups-tame",
        &scatter::draw(&soup::scatter(&tame).unwrap()).unwrap(),
    );
    let mut bad = soups.clone();
    for k in 0..5 {
        bad.models[k] = samples::individual(
            &format!("a_long_name_of_a_diverged_model_{k}"),
            10.0 + 3.0 * k as f64,
            12.0,
        );
    }
    put(
        "soups-bad",
        &scatter::draw(&soup::scatter(&bad).unwrap()).unwrap(),
    );
    let all = samples::pairs();
    put(
        "fig3",
        &scatter::draw(&pairs::angle_advantage(&all).unwrap()).unwrap(),
    );
    put(
        "fig4",
        &scatter::draw(&pairs::soup_ensemble(&all).unwrap()).unwrap(),
    );
    put(
        "fig5",
        &scatter::draw(&theory::theory(&all).unwrap()).unwrap(),
    );
    put("layers", &layers::layers(&all).unwrap().unwrap());
}
