"""Linear heterogeneity analysis (PPCA), and volumes of any latent regressed on images.

Model (Tagare et al. 2015; Punjani & Fleet 2021): image i is
y_i = a_i C_i P_i (V_0 + Σ_k z_ik V_k) plus noise whose variance depends on the shell, with
z_i ~ N(0, I) and, where it is fitted, a contrast a_i ~ N(1, s²). Variances and weights are
those of one real number, be it the real or the imaginary part of a value on the half lattice.
"""
