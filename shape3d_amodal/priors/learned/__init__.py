"""Stages 2 and 3 by networks: shape and viewpoint, learned without 3D, camera or amodal labels."""
