"""Seeing inside: a graph as a table and as a picture, and the hunt for the first NaN."""
from .anomaly import AnomalyError, detect_anomaly
from .explain import Explanation, Row, explain
from .graph import Graph, graph

__all__ = ["AnomalyError", "Explanation", "Graph", "Row", "detect_anomaly", "explain", "graph"]
