"""The HTTP front: ``POST /sql`` as the serverless driver speaks it, on httptools and bare asyncio."""
