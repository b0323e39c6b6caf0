"""The Faust transport on librdkafka, and the output log as journal."""
