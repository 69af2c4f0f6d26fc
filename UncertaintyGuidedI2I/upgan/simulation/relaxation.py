"""What an MR signal follows from: proton density, T1, T2* and fat of the tissues of a head at 1.5 and 3 T."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from upgan.simulation.tissue import Tissue


@dataclass(frozen=True)
class Relaxation:
    """One tissue at one field strength.

    Attributes:
        density: Protons that can be seen, relative to water.
        t1_ms: Longitudinal relaxation time.
        t2_star_ms: Decay time of a gradient echo.
        fat: Share of the protons that is in fat, and precesses more slowly.
    """

    density: float
    t1_ms: float
    t2_star_ms: float
    fat: float = 0.0


# Density, T1 at 1.5 and 3 T, T2* at 1.5 and 3 T, share of fat. The values are rounded, and every patient departs from
# them (PATIENTS_DIFFER).
#  T1 of grey and white matter and CSF at 1.5 T: Rooney et al., Magn Reson Med 2007, 57:308; at 3 T: Wansapura et al.,
#  J Magn Reson Imaging 1999, 9:531. T1 of muscle and blood: Stanisz et al., Magn Reson Med 2005, 54:507; of fat under
#  the skin: Gold et al., AJR 2004, 183:343; of marrow: between that and muscle's, for half of it is fat. T2* of grey
#  and white matter: Peters et al., Magn Reson Imaging 2007, 25:748. Density of grey and white matter: Tofts,
#  Quantitative MRI of the Brain, 2003. Compact bone (of the skull, T2* below half a millisecond, water of a fifth):
#  Techawiboonwong et al., Radiology 2008, 248:824.
#  The rest has no good measurement in vivo: fluids as CSF, soft tissues near muscle, chosen to look as they do.
_TABLE: dict[Tissue, tuple[float, float, float, float, float, float]] = {
    Tissue.AIR: (0.0, 1000.0, 1000.0, 1.0, 1.0, 0.0),
    Tissue.SKIN: (0.75, 700.0, 900.0, 18.0, 14.0, 0.10),
    Tissue.FAT: (0.90, 290.0, 370.0, 40.0, 30.0, 0.92),
    Tissue.MUSCLE: (0.80, 1000.0, 1420.0, 30.0, 26.0, 0.03),
    Tissue.COMPACT_BONE: (0.20, 240.0, 260.0, 0.45, 0.40, 0.0),
    Tissue.MARROW: (0.85, 400.0, 500.0, 14.0, 9.0, 0.50),
    Tissue.GREY: (0.82, 1180.0, 1330.0, 84.0, 66.0, 0.0),
    Tissue.WHITE: (0.70, 660.0, 830.0, 66.0, 53.0, 0.0),
    Tissue.CSF: (1.00, 4300.0, 4300.0, 500.0, 300.0, 0.0),
    Tissue.DURA: (0.60, 700.0, 850.0, 15.0, 12.0, 0.0),
    Tissue.BLOOD: (0.80, 1440.0, 1930.0, 120.0, 50.0, 0.0),
    Tissue.MUCOSA: (0.85, 1000.0, 1250.0, 35.0, 28.0, 0.0),
    Tissue.GLAND: (0.80, 800.0, 1000.0, 40.0, 32.0, 0.10),
    Tissue.VITREOUS: (0.98, 4000.0, 4000.0, 400.0, 250.0, 0.0),
    Tissue.LENS: (0.65, 1100.0, 1300.0, 25.0, 20.0, 0.0),
    Tissue.CARTILAGE: (0.65, 1000.0, 1200.0, 20.0, 16.0, 0.0),
}

PATIENTS_DIFFER = {"density": 0.04, "t1_ms": 0.07, "t2_star_ms": 0.15}
"""Standard deviation, relative, from patient to patient and, within one, from tissue to tissue."""


def relaxation(tissue: Tissue, field_t: float) -> Relaxation:
    """Give the tissue's mean properties at 1.5 or 3 T, or between the two by interpolation."""
    density, low_t1, high_t1, low_t2_star, high_t2_star, fat = _TABLE[tissue]
    t1_ms = np.interp(field_t, (1.5, 3.0), (low_t1, high_t1))
    t2_star_ms = np.interp(field_t, (1.5, 3.0), (low_t2_star, high_t2_star))
    return Relaxation(density, float(t1_ms), float(t2_star_ms), fat)


def relaxations_of_a_patient(field_t: float, rng: np.random.Generator) -> dict[Tissue, Relaxation]:
    """Draw one patient's properties about the means; marrow holds more fat in one than in another."""
    patient = {}
    for tissue in Tissue:
        mean = relaxation(tissue, field_t)
        factors = {name: float(np.exp(rng.normal(0.0, sigma))) for name, sigma in PATIENTS_DIFFER.items()}
        drawn = {name: getattr(mean, name) * factor for name, factor in factors.items()}
        fat = float(rng.uniform(0.25, 0.75)) if tissue is Tissue.MARROW else mean.fat
        patient[tissue] = replace(mean, **drawn, fat=fat)
    return patient
