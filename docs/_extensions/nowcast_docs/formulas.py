"""Every score as a formula, with its range, the value of a perfect forecast, and its source.

Which values are better, unit and title stand beside the code (``SCORES`` in
``nowcast.evaluation.statistics.scores``); tests/test_docs_site.py checks that no score is missing
here, that ranges are kept, and that a perfect forecast has the value that is said of it.
"""

import math
from dataclasses import dataclass

INFINITE = math.inf


@dataclass(frozen=True)
class Formula:
    """What a score is.

    Args:
        latex: its formula.
        words: what it says, in a sentence.
        low, high: ends of its range.
        source: where it is defined.
        perfect: its value of a perfect forecast; None: it depends on the observations, or is none.
    """

    latex: str
    words: str
    low: float
    high: float
    source: str
    perfect: float | None = None


_WILKS = 'Wilks, "Statistical Methods in the Atmospheric Sciences", chapter 9'
_SAL = "Wernli et al. 2008, Mon. Wea. Rev. 136; objects as in Wernli et al. 2009"
_MURPHY = "Murphy 1973, J. Appl. Meteor. 12"
_FERRO = "Ferro 2014, Q. J. R. Meteorol. Soc. 140"
_HKO7 = "Shi et al. 2017 (HKO-7), arXiv 1706.03458"
_SHI = "Shi et al. 2015, arXiv 1506.04214"
_SSIM = "Wang et al. 2004, IEEE Trans. Image Process. 13"
_FSS = "Roberts and Lean 2008, Mon. Wea. Rev. 136"
_MEAN = r"\frac{1}{N} \sum_i"

EVENTS = {
    "csi": Formula(
        r"\mathrm{CSI} = \frac{h}{h + m + f}",
        "Critical success index: hits among all that was forecast or observed.",
        0, 1, _WILKS, 1,
    ),
    "pod": Formula(
        r"\mathrm{POD} = \frac{h}{h + m}",
        "Probability of detection: hits among all that was observed.",
        0, 1, _WILKS, 1,
    ),
    "far": Formula(
        r"\mathrm{FAR} = \frac{f}{h + f}",
        "False alarm ratio: false alarms among all that was forecast.",
        0, 1, _WILKS, 0,
    ),
    "success_ratio": Formula(
        r"\mathrm{SR} = \frac{h}{h + f} = 1 - \mathrm{FAR}",
        "Hits among all that was forecast.",
        0, 1, _WILKS, 1,
    ),
    "hss": Formula(
        r"\mathrm{HSS} = \frac{2 (h r - f m)}{(h + m)(m + r) + (h + f)(f + r)}",
        "Heidke skill score: right answers beyond those of chance; 0 is chance.",
        -1, 1, _WILKS, 1,
    ),
    "ets": Formula(
        r"\mathrm{ETS} = \frac{h - c}{h + m + f - c}, \quad c = \frac{(h + m)(h + f)}{n}",
        "Equitable threat score (Gilbert skill score): the CSI without the hits of chance; 0 is "
        "chance.",
        -1 / 3, 1, _WILKS, 1,
    ),
    "peirce": Formula(
        r"\mathrm{PSS} = \frac{h}{h + m} - \frac{f}{f + r}",
        "Peirce (Hanssen-Kuipers) skill score; 0 is chance.",
        -1, 1, _WILKS, 1,
    ),
    "sedi": Formula(
        r"\mathrm{SEDI} = \frac{\ln F - \ln H + \ln (1 - H) - \ln (1 - F)}"
        r"{\ln F + \ln H + \ln (1 - H) + \ln (1 - F)}, \quad "
        r"H = \frac{h}{h + m}, \quad F = \frac{f}{f + r}",
        "Symmetric extremal dependence index; it does not fade as events become rare. Undefined "
        "where H or F is 0 or 1, and so for a perfect forecast.",
        -1, 1, "Ferro and Stephenson 2011, Weather and Forecasting 26",
    ),
    "f1": Formula(
        r"F_1 = \frac{2 h}{2 h + m + f}",
        "Harmonic mean of POD and success ratio.",
        0, 1, "van Rijsbergen 1979, Information Retrieval", 1,
    ),
    "accuracy": Formula(
        r"\mathrm{ACC} = \frac{h + r}{n}",
        'Share of right answers; on rare events, the forecast "never" has a high one.',
        0, 1, _WILKS, 1,
    ),
    "frequency_bias": Formula(
        r"\mathrm{bias} = \frac{h + f}{h + m}",
        "Forecast events for each observed one; above 1 too many are forecast.",
        0, INFINITE, _WILKS, 1,
    ),
    "hits": Formula(r"h", "Forecast and observed.", 0, INFINITE, _WILKS),
    "misses": Formula(r"m", "Observed, but not forecast.", 0, INFINITE, _WILKS, 0),
    "false_alarms": Formula(r"f", "Forecast, but not observed.", 0, INFINITE, _WILKS, 0),
    "correct_negatives": Formula(r"r", "Neither forecast nor observed.", 0, INFINITE, _WILKS),
    "csi_mean": Formula(
        r"\mathrm{CSI\text{-}M} = \frac{1}{K} \sum_{k} \mathrm{CSI}_k",
        "Mean of the CSI of all K thresholds.",
        0, 1, "Gao et al. 2022 (Earthformer), arXiv 2207.05833", 1,
    ),
}  # fmt: skip

NEIGHBOURHOODS = {
    "fss": Formula(
        r"\mathrm{FSS} = 1 - \frac{\sum_i (S_i^F - S_i^O)^2}{\sum_i (S_i^F)^2 + \sum_i (S_i^O)^2}",
        "Fractions skill score: whether as large a share of each window has an event as was "
        "observed, wherever in the window it lies.",
        0, 1, _FSS, 1,
    ),
    "fss_probability": Formula(
        r"1 - \frac{\sum_i (\bar P_i - S_i^O)^2}{\sum_i \bar P_i^2 + \sum_i (S_i^O)^2}",
        "The same of probabilities: their mean in each window in place of the share of the "
        "forecast events.",
        0, 1, _FSS, 1,
    ),
    "fss_useful": Formula(
        r"\tfrac{1}{2} + \frac{f_0}{2}",
        "From where on an FSS is called useful; a property of the observations.",
        0.5, 1, _FSS,
    ),
    "fss_random": Formula(
        r"f_0 = \frac{\text{observed events}}{n}",
        "The FSS of a random forecast: the share of pixels with an event.",
        0, 1, _FSS,
    ),
}  # fmt: skip

PIXELS = {
    "mae": Formula(
        rf"\mathrm{{MAE}} = {_MEAN} |F_i - O_i|",
        "Mean absolute error. Moving MNIST: the sum over the pixels of a frame, mean over "
        "sequences.",
        0, INFINITE, _WILKS, 0,
    ),
    "mse": Formula(
        rf"\mathrm{{MSE}} = {_MEAN} (F_i - O_i)^2",
        "Mean squared error. Moving MNIST: the sum over the pixels of a frame, mean over "
        "sequences.",
        0, INFINITE, _WILKS, 0,
    ),
    "rmse": Formula(
        r"\mathrm{RMSE} = \sqrt{\mathrm{MSE}}",
        "Root of the mean squared error.",
        0, INFINITE, _WILKS, 0,
    ),
    "mean_error": Formula(
        rf"{_MEAN} (F_i - O_i)",
        "Mean error: above 0 too much rain is forecast.",
        -INFINITE, INFINITE, _WILKS, 0,
    ),
    "correlation": Formula(
        r"\frac{\sum_i (F_i - \bar F)(O_i - \bar O)}"
        r"{\sqrt{\sum_i (F_i - \bar F)^2} \sqrt{\sum_i (O_i - \bar O)^2}}",
        "Pearson's correlation of the pixels.",
        -1, 1, _WILKS, 1,
    ),
    "uncentred_correlation": Formula(
        r"\frac{\sum_i F_i O_i}{\sqrt{\sum_i F_i^2} \sqrt{\sum_i O_i^2}}",
        "Correlation around 0 instead of around the means.",
        0, 1, _SHI, 1,
    ),
    "b_mse": Formula(
        r"\mathrm{B\text{-}MSE} = \frac{1}{\text{frames}} \sum_i w(O_i) \, (p(F_i) - p(O_i))^2",
        "Balanced squared error: heavy rain weighs more.",
        0, INFINITE, _HKO7, 0,
    ),
    "b_mae": Formula(
        r"\mathrm{B\text{-}MAE} = \frac{1}{\text{frames}} \sum_i w(O_i) \, |p(F_i) - p(O_i)|",
        "Balanced absolute error.",
        0, INFINITE, _HKO7, 0,
    ),
}  # fmt: skip

STRUCTURE = {
    "sal_structure": Formula(
        r"S = 2 \, \frac{V_F - V_O}{V_F + V_O}",
        "Below 0 the forecast objects are too small or peaked, above 0 too wide or flat.",
        -2, 2, _SAL, 0,
    ),
    "sal_amplitude": Formula(
        r"A = 2 \, \frac{\bar F - \bar O}{\bar F + \bar O}",
        "Below 0 too little rain is forecast, above 0 too much.",
        -2, 2, _SAL, 0,
    ),
    "sal_location": Formula(
        r"L = \frac{|c_F - c_O|}{d} + 2 \, \frac{|r_F - r_O|}{d}",
        "How far the rain lies from where it was observed.",
        0, 2, _SAL, 0,
    ),
    "sal_structure_size": Formula(r"|S|", "Mean of the sizes of S.", 0, 2, _SAL, 0),
    "sal_amplitude_size": Formula(r"|A|", "Mean of the sizes of A.", 0, 2, _SAL, 0),
    "sal_cases": Formula(
        r"\text{cases}",
        "Fields that are in these means: those with an object in both.",
        0, INFINITE, _SAL,
    ),
    "power_forecast": Formula(
        r"P_F(\lambda) = \frac{1}{H W} \, \text{mean of } |\mathcal{F}(10 \log_{10} F)|^2",
        "Power of the forecast at wavelengths around so many pixels.",
        0, INFINITE, "radially averaged power spectral density, two bands an octave",
    ),
    "power_observation": Formula(
        r"P_O(\lambda)",
        "The same of the observation.",
        0, INFINITE, "as above",
    ),
    "effective_resolution": Formula(
        r"\min \{ \lambda : P_F(\lambda') \ge \tfrac{1}{2} P_O(\lambda') "
        r"\text{ for all } \lambda' \ge \lambda \}",
        "The shortest wavelength [pixels] down to which the forecast has at least half of the "
        "observed power. It shows the blurring that scores of events reward.",
        2, INFINITE, "half of the power, as usual for models of the atmosphere; see Skamarock "
        "2004, Mon. Wea. Rev. 132",
    ),
}  # fmt: skip

ENSEMBLES = {
    "crps": Formula(
        r"\mathrm{CRPS} = \frac{1}{M} \sum_i |x_i - y| - \frac{1}{2 M^2} \sum_{i, j} |x_i - x_j|",
        "Continuous ranked probability score, mean over pixels; of one member it is the MAE.",
        0, INFINITE, "Gneiting and Raftery 2007, J. Am. Stat. Assoc. 102", 0,
    ),
    "crps_fair": Formula(
        r"\frac{1}{M} \sum_i |x_i - y| - \frac{1}{2 M (M - 1)} \sum_{i, j} |x_i - x_j|",
        "What the members' distribution would have with endless members. It can be a little below "
        "0 by chance.",
        -INFINITE, INFINITE, _FERRO, 0,
    ),
    "spread": Formula(
        r"\sigma = \sqrt{\frac{M + 1}{M} \, \frac{1}{N} \sum_\text{pixels} "
        r"\frac{1}{M - 1} \sum_i (x_i - \bar x)^2}",
        "How far the members lie apart, made so that it is comparable with the RMSE of their mean.",
        0, INFINITE, "Fortin et al. 2014, J. Hydrometeor. 15",
    ),
    "rmse_of_mean": Formula(
        r"\sqrt{\frac{1}{N} \sum_\text{pixels} (\bar x - y)^2}",
        "RMSE of the members' mean.",
        0, INFINITE, _WILKS, 0,
    ),
    "spread_skill": Formula(
        r"\frac{\sigma}{\text{RMSE of the mean}}",
        "1 where members are from the truth's own distribution; below 1 they are too much alike.",
        0, INFINITE, "Fortin et al. 2014, J. Hydrometeor. 15",
    ),
    "brier": Formula(
        r"\mathrm{BS} = \frac{1}{N} \sum_\text{pixels} (p - e)^2",
        "Brier score of the share p of members that reach the threshold; e is 1 where it was "
        "reached, else 0.",
        0, 1, _MURPHY, 0,
    ),
    "brier_reliability": Formula(
        r"\frac{1}{N} \sum_k n_k (p_k - \bar e_k)^2",
        "Reliability: how far each forecast probability lies from the frequency it was followed "
        "by.",
        0, 1, _MURPHY, 0,
    ),
    "brier_resolution": Formula(
        r"\frac{1}{N} \sum_k n_k (\bar e_k - \bar e)^2",
        "Resolution: how much these frequencies differ.",
        0, 0.25, _MURPHY,
    ),
    "brier_uncertainty": Formula(
        r"\bar e \, (1 - \bar e)",
        "Uncertainty, a property of the observations: the score is reliability - resolution + "
        "uncertainty.",
        0, 0.25, _MURPHY,
    ),
    "brier_skill": Formula(
        r"\mathrm{BSS} = 1 - \frac{\mathrm{BS}}{\bar e \, (1 - \bar e)}",
        "Skill over the forecast of the observed frequency.",
        -INFINITE, 1, _WILKS, 1,
    ),
    "decision_probability": Formula(
        r"\operatorname{argmax}_t \; \frac{\sum_{p_i \ge t} p_i}"
        r"{\#\{p_i \ge t\} + \sum_{p_i < t} p_i}",
        "The probability from which on the yes/no forecasts of a distribution say yes: the one "
        "that promises the best CSI over all pixels of a lead, by the probabilities alone.",
        0, 1, "Gneiting 2011, J. Am. Stat. Assoc. 106",
    ),
    "economic_value": Formula(
        r"V = \frac{\min(\alpha n, h + m) - \alpha (h + f) - m}"
        r"{\min(\alpha n, h + m) - \alpha (h + m)}",
        "Potential economic value: the share of what a perfect forecast would save, beyond knowing "
        "the climate, for a user to whom protection costs the share α of the loss that it prevents "
        "(column cost_loss), and who protects where the probability is at least α.",
        -INFINITE, 1, "Richardson 2000, Q. J. R. Meteorol. Soc. 126", 1,
    ),
    "roc_area": Formula(
        r"\int H \, dF",
        "Area under the curve of hit rate over false alarm rate, of warnings from one more member "
        "than all down to none (trapezoids); 0.5 is chance.",
        0, 1, "Mason and Graham 2002, Q. J. R. Meteorol. Soc. 128", 1,
    ),
}  # fmt: skip

GREY = {
    "cross_entropy": Formula(
        r"-\sum_i \left( O_i \ln F_i + (1 - O_i) \ln (1 - F_i) \right)",
        "Nats of a sequence: summed over pixels and frames, mean over sequences. Forecasts are "
        "kept within 0.0000001 of 0 and 1.",
        0, INFINITE, _SHI,
    ),
    "cross_entropy_floor": Formula(
        r"-\sum_i \left( O_i \ln O_i + (1 - O_i) \ln (1 - O_i) \right)",
        "What a perfect forecast has, because digits have grey edges.",
        0, INFINITE, _SHI,
    ),
    "ssim": Formula(
        r"\frac{(2 \mu_F \mu_O + c_1)(2 \sigma_{FO} + c_2)}"
        r"{(\mu_F^2 + \mu_O^2 + c_1)(\sigma_F^2 + \sigma_O^2 + c_2)}",
        "Structural similarity in windows of 7 x 7 pixels, mean over windows and frames, with the "
        "correct data range 1.",
        -1, 1, _SSIM, 1,
    ),
    "ssim_range2": Formula(
        r"\text{the same with } c_1 = (0.01 \cdot 2)^2, \quad c_2 = (0.03 \cdot 2)^2",
        "With the data range 2 that published benchmark tables used by mistake.",
        -1, 1, _SSIM, 1,
    ),
    "psnr": Formula(
        r"\mathrm{PSNR} = -10 \log_{10} \left( \frac{1}{H W} \sum_i (F_i - O_i)^2 \right)",
        "Peak signal-to-noise ratio of frames in [0, 1], mean over frames.",
        0, INFINITE, "OpenSTL, arXiv 2306.11249", INFINITE,
    ),
}  # fmt: skip

FAMILIES: dict[str, dict[str, Formula]] = {
    "events": EVENTS,
    "neighbourhoods": NEIGHBOURHOODS,
    "pixels": PIXELS,
    "structure": STRUCTURE,
    "ensembles": ENSEMBLES,
    "grey": GREY,
}


def all_formulas() -> dict[str, Formula]:
    """Every score that is described, by name."""
    return {name: formula for family in FAMILIES.values() for name, formula in family.items()}
