"""Seeing inside: a graph as a table and as a picture, and the search for the first NaN."""
from .anomaly import AnomalyError as AnomalyError, detect_anomaly as detect_anomaly
from .explain import Explanation as Explanation, Row as Row, explain as explain
from .graph import Graph as Graph, graph as graph
