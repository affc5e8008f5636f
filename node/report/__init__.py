"""What people read: picture page, HTML and PDF report."""
