"""Rollouts of other people's harnesses, which ask the policy's engines over HTTP in OpenAI's form."""
