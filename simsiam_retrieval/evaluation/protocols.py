"""How each number was measured, in words; every report contains these texts."""

from ..metrics.spectrum import DELTA, FIRST, LAST
from ..metrics.whitening import COMPONENTS
from .fewshot import DRAWS
from .linear_probe import BATCH, LEARNING_RATES, STEPS, WEIGHT_DECAYS
from .paper_protocol import BASE_LR, MIN_SCALE
from .paper_protocol import BATCH as PAPER_BATCH

SMALL_K = 20
TEMPERATURE = 0.1
SWEEP_K = (1, 5, 10, 20, 50, 100, 200)
SWEEP_TEMPERATURES = (0.05, 0.1, 0.2)
QUALITY_IMAGES = 2000

_KNN = "frozen features of centre crops; cosine, votes weighted exp(cosine / temperature) (Wu et al. 2018)"
_INTERVAL = "top1_interval: 95 %, Wilson, over test images"

PROTOCOLS = {
    "knn": f"{_KNN}; k and temperature as named; sweep: other values, none of them chosen; {_INTERVAL}",
    f"knn-{SMALL_K}": f"{_KNN}, k = {SMALL_K}; {_INTERVAL}",
    "knn-whitened": f"as knn-{SMALL_K}, on features whitened by PCA of the training features, without labels, to at "
    f"most {COMPONENTS} components; {_INTERVAL}",
    "linear": "frozen features of centre crops, standardised; linear classifier, SGD with momentum 0.9, batch "
    f"{BATCH}, {STEPS} steps, cosine schedule; learning rate of {', '.join(f'{lr:g}' for lr in LEARNING_RATES)} and "
    f"weight decay of {', '.join(f'{decay:g}' for decay in WEIGHT_DECAYS)} with the best top-1 on a held-out fifth "
    f"of each class's training images, then trained on all of them; {_INTERVAL}",
    "linear-paper": "SimSiam's linear evaluation: frozen backbone in eval mode, features before l2-normalisation; "
    f"random resized crop (area {MIN_SCALE} to 1) and flip, LARS, momentum 0.9, no weight decay, lr {BASE_LR} * "
    f"batch / 256, batch {PAPER_BATCH} or all images, cosine schedule; centre crop of test images; {_INTERVAL}",
    "few_shot": "logistic regression (sum of cross-entropies + 1/2 ||weights||^2) on features minus their mean, "
    "divided by one scale for all numbers (the root of their mean variance) and sqrt(d), "
    f"of the given number of training images per class; mean of {DRAWS} draws, interval: 95 %, Student's t, over draws",
    "retrieval": "each test image searched among the other test images, cosine; recall@k: one of its class among the "
    "k nearest; mAP@R as in Musgrave et al. 2020; own_included: with the query's own file among those searched",
    "quality": f"unit features of at most {QUALITY_IMAGES} test images, evenly spaced; RankMe: uncentred, singular "
    f"values; alpha-ReQ: covariance eigenvalues {FIRST} to {LAST}, weights 1/j; variance AUC: centred, eigenvalues; "
    "uniformity: t = 2; with views, SimSiam's augmentation: alignment of two, LiDAR of all, delta "
    f"{DELTA:g} of the mean within-class eigenvalue",
    "duplicates": "each of n test images against four altered copies of each (rescaled, recompressed, cropped, turned "
    "by EXIF); a pair is called a near-duplicate where its cosine reaches the threshold; prevalence 1/n",
}
