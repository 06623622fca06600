"""FF, feed-forward (section 4): trained without L_MCH, draws an unseen person with psi_hat = P e_hat, nothing is tuned."""

from model.few_shot.meta_learning import Config, FewShot


class FF(FewShot):
    """FewShot as it is: nothing is added, nothing tuned."""
    name, label = "ff", "Ours-FF"


__all__ = ["METHOD", "Config"]
METHOD = FF
