"""From a plain pod to what Airflow's Kubernetes provider takes."""
