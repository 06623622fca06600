"""FF, feed-forward (section 4): trained without L_MCH, generates an unseen person with psi_hat = P e_hat, no fine-tuning."""

from model.few_shot.meta_learning import Config, FewShot


class FF(FewShot):
    """FewShot without L_MCH and without fine-tuning."""
    name, label = "ff", "Ours-FF"


__all__ = ["METHOD", "Config"]
METHOD = FF
