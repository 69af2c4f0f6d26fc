"""The generators, the discriminator and the cascade that chains them."""
