"""The pages of the app, and the script that Streamlit runs."""
